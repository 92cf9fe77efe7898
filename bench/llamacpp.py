"""llama.cpp for the scripts of this folder, through the C interface of llama-cpp-python: a model, its tokens, and
contexts that run batches of (token, position, sequence)."""

import sys

import llama_cpp
import numpy as np

# What its fastest products on this kind of machine need; a build without them is no fair peer.
FEATURES = ("AVX512_VNNI", "AVX512_BF16")


def check_build():
    """Ends the program unless the library was built for the instruction sets of FEATURES and sees them here."""
    found = features()
    missing = [name for name in FEATURES if name not in found]
    if missing:
        sys.exit(
            f"this build of llama.cpp reports no {' and no '.join(missing)} (it has {', '.join(found)}): it would be "
            "no fair peer. Build it on a machine with AVX-512 VNNI and BF16: rm -r bench/.venv-peers, then "
            "bench/setup_peers.sh"
        )


def features():
    """The instruction sets that the library was built with."""
    entries = llama_cpp.llama_print_system_info().decode().split("|")
    pairs = (entry.rpartition(":")[2].split("=") for entry in entries if "=" in entry)
    return [name.strip() for name, value in pairs if value.strip() == "1"]


@llama_cpp.llama_log_callback
def be_silent(level, text, user_data):
    pass


class Model:
    """A GGUF file, on the CPU."""

    def __init__(self, path):
        llama_cpp.llama_log_set(be_silent, None)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.handle = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.handle)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def tokens(self, text):
        """The tokens of a text, without special ones."""
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), room, len(room), False, False)
        assert count >= 0, f"{-count} tokens do not fit in {len(room)}"
        return room[:count]

    def eos(self):
        return llama_cpp.llama_vocab_eos(self.vocab)


class Context:
    """A cache for so many positions in so many sequences, and the threads that compute."""

    def __init__(self, model, positions, sequences=1, threads=2, batch=512):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = positions
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        self.model = model
        self.handle = llama_cpp.llama_init_from_model(model.handle, params)
        if not self.handle:
            sys.exit(f"llama.cpp makes no context of {positions} positions")
        self.memory = llama_cpp.llama_get_memory(self.handle)
        self.room = batch
        self.batch = llama_cpp.llama_batch_init(batch, 0, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.handle)

    def clear(self):
        """Forgets all sequences."""
        llama_cpp.llama_memory_clear(self.memory, False)

    def run(self, tokens, positions, sequences, wanted):
        """One pass; `wanted` says for each token whether its logits are computed."""
        batch, count = self.batch, len(tokens)
        assert count <= self.room, f"{count} tokens at once; there is room for {self.room}"
        batch.n_tokens = count
        for index in range(count):
            batch.token[index] = tokens[index]
            batch.pos[index] = positions[index]
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequences[index]
            batch.logits[index] = wanted[index]
        status = llama_cpp.llama_decode(self.handle, batch)
        if status != 0:
            sys.exit(f"llama_decode ended with {status}")
        llama_cpp.llama_synchronize(self.handle)

    def logits(self, rows):
        """The logits of the last pass, which computed those of so many tokens: rows x vocabulary."""
        flat = llama_cpp.llama_get_logits(self.handle)
        return np.ctypeslib.as_array(flat, shape=(rows, self.model.vocab_size))
