"""Writes the test vectors of the model families: tiny random checkpoints and what transformers makes of them.

    family_vectors.py [--out crates/model/tests/vectors]

One folder a vector, laid out as Hugging Face lays out a model, with beside it

cases.json             {"cases": [{"tokens": […], "types": […]}]}: token ids, and segment ids for encoders
expected.safetensors   for case N: `logits_N` (tokens, vocabulary) of decoders; `hidden_N` (tokens, width) after the
                       last norm; `pooled_N` (width) of encoders with a pooler; `embedding_N` (width), the mean over
                       tokens scaled to length 1, of sentence encoders
gradients.safetensors  of decoders, for case 0: the gradient, by each tensor of the checkpoint, of the sum of the
                       next-token losses in nats (the last token has no target)

Every tensor is f32 and every case is run alone, so nothing is padded. All weights are random, norms and biases too:
a term that is left out shows. Widths are no multiple of a SIMD register, one case is longer than a cache block.
The same versions of torch and transformers write the same bytes.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB = 67
POSITIONS = 80
CASE_LENGTHS = [9, 1, 70]
MATRIX_STD, VECTOR_STD = 0.25, 0.2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "crates/model/tests/vectors"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for seed, (name, (make, write)) in enumerate(sorted(VECTORS.items())):
        model = make()
        randomise(model, seed)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name in OLDER_CONFIGS:
            rotary_base_as_before(folder / "config.json")
        write(model, folder, make_cases(seed))
        size_kb = sum(file.stat().st_size for file in folder.iterdir()) / 1000
        print(f"{name}: {size_kb:.0f} KB")
        assert size_kb < 150, f"{name} is too large for a test vector"


# The models


def llama_grouped():
    """Grouped key-value heads and a head of its own."""
    return LlamaForCausalLM(llama_config(num_key_value_heads=2, tie_word_embeddings=False, rope_theta=10000.0))


def llama_tied():
    """One key-value head, the head tied to the embedding, another rotary base and epsilon."""
    return LlamaForCausalLM(
        llama_config(num_key_value_heads=1, tie_word_embeddings=True, rope_theta=100000.0, rms_norm_eps=1e-3)
    )


def llama_config(rope_theta, rms_norm_eps=1e-5, **fields):
    return LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=6,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        rms_norm_eps=rms_norm_eps,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",
        **fields,
    )


def rotary_base_as_before(path):
    """Moves the rotary base to where files had it before transformers 5: most published checkpoints are such."""
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB,
            n_positions=POSITIONS,
            n_embd=24,
            n_layer=2,
            n_head=3,
            n_inner=56,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="eager",
        )
    )


def bert(pooler):
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=56,
        max_position_embeddings=POSITIONS,
        attn_implementation="eager",
    )
    return BertModel(config, add_pooling_layer=pooler)


def minilm():
    """The proportions of all-MiniLM-L6-v2: six layers, twelve heads, four times the width inside."""
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=32,
        max_position_embeddings=POSITIONS,
        hidden_act="gelu",
        attn_implementation="eager",
    )
    return BertModel(config)


def randomise(model, seed):
    """Fills every parameter from the seed, in the order of names; norm weights lie around one."""
    generator = torch.Generator().manual_seed(1000 + seed)
    model.eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            std = MATRIX_STD if parameter.dim() > 1 else VECTOR_STD
            parameter.normal_(0.0, std, generator=generator)
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter += 1.0


def make_cases(seed):
    generator = torch.Generator().manual_seed(2000 + seed)
    return [torch.randint(0, VOCAB, (length,), generator=generator) for length in CASE_LENGTHS]


# What is expected of them


def write_decoder(model, folder, cases):
    expected = {}
    with torch.no_grad():
        for index, tokens in enumerate(cases):
            output = model(tokens[None], output_hidden_states=True)
            expected[f"logits_{index}"] = output.logits[0].clone()
            expected[f"hidden_{index}"] = output.hidden_states[-1][0].clone()
    write(folder, expected, [{"tokens": tokens.tolist()} for tokens in cases])
    save_file(gradients(model, cases[0]), folder / "gradients.safetensors")


def gradients(model, tokens):
    logits = model(tokens[None]).logits[0]
    F.cross_entropy(logits[:-1], tokens[1:], reduction="sum").backward()
    return {name: parameter.grad.contiguous() for name, parameter in model.named_parameters()}


def write_encoder(model, folder, cases):
    expected, written = {}, []
    with torch.no_grad():
        for index, tokens in enumerate(cases):
            # The second half of a case is its second segment, as in a sentence pair.
            types = (torch.arange(len(tokens)) * 2 >= len(tokens)).long() if index == 0 else torch.zeros_like(tokens)
            output = model(tokens[None], token_type_ids=types[None])
            hidden = output.last_hidden_state[0]
            expected[f"hidden_{index}"] = hidden.clone()
            expected[f"embedding_{index}"] = F.normalize(hidden.mean(0), dim=0)
            if output.pooler_output is not None:
                expected[f"pooled_{index}"] = output.pooler_output[0].clone()
            written.append({"tokens": tokens.tolist(), "types": types.tolist()})
    write(folder, expected, written)


def write(folder, expected, cases):
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")
    lines = ",\n".join("    " + json.dumps(case) for case in cases)
    (folder / "cases.json").write_text(f'{{\n  "cases": [\n{lines}\n  ]\n}}\n')


VECTORS = {
    "llama-grouped": (llama_grouped, write_decoder),
    "llama-tied": (llama_tied, write_decoder),
    "gpt2": (gpt2, write_decoder),
    "bert": (lambda: bert(pooler=True), write_encoder),
    "bert-no-pooler": (lambda: bert(pooler=False), write_encoder),
    "minilm": (minilm, write_encoder),
}
# Half of the Llama vectors have the rotary base in `rope_theta`, half in `rope_parameters`.
OLDER_CONFIGS = {"llama-grouped"}


if __name__ == "__main__":
    main()
