"""How close luban and llama.cpp come to the exact forward on the same GGUF file.

    llamacpp_quality.py FILE.gguf --text FILE.txt [--tokens 65536] [--window 512] [--kl-windows 4]

Kullback-Leibler divergence: the reference is the distribution that transformers computes in f32 from the file's
weights, dequantized by the `gguf` package; `kl_luban` and `kl_llamacpp` are the mean divergences a token of the two
programs from it, over --kl-windows windows from all over the text.

Perplexity: of each program over the first --tokens tokens in windows that do not overlap, cut as `luban eval
perplexity` cuts: an end-of-text token, then the text, every token but the first predicted once. llama.cpp's tokens
come from its own tokenizer; luban must find as many in the same bytes.

Ends with an error when luban's divergence is more than 0.001 above llama.cpp's, or the perplexities differ by more
than 0.5 %.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

from common import luban, note, print_result
from llamacpp import Context, Model, check_build

DIVERGENCE_MORE_MAX = 1e-3
PERPLEXITY_DIFFERENCE_MAX = 5e-3


def main():
    args = parse_args()
    check_build()
    torch.set_num_threads(args.threads)
    model = Model(args.file)
    windows = cut(model, args)
    divergences = measure_divergences(args, model, windows)
    theirs = llamacpp_perplexity(model, windows, args)
    ours = luban_perplexity(args)
    ratio = ours["perplexity"] / theirs
    assert ours["tokens"] == sum(len(targets) for _, targets in windows), "the two programs cut other tokens"
    print_result(
        bench="quality",
        format=args.file.stem,
        **divergences,
        perplexity_luban=ours["perplexity"],
        perplexity_llamacpp=theirs,
        perplexity_ratio=ratio,
        tokens=ours["tokens"],
        window=args.window,
    )
    more = divergences["kl_luban"] - divergences["kl_llamacpp"]
    if not (more <= DIVERGENCE_MORE_MAX and abs(ratio - 1) <= PERPLEXITY_DIFFERENCE_MAX):
        sys.exit(f"{args.file.stem}: divergence {more:+.6f}, perplexity {ratio:.5f} times that of llama.cpp")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=65536)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--kl-windows", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def cut(model, args):
    """Pairs of inputs and targets."""
    ids = [model.eos(), *model.tokens(args.text.read_text(encoding="utf-8"))][: args.tokens + 1]
    starts = range(0, len(ids) - 1, args.window)
    return [(ids[start : start + args.window], ids[start + 1 : start + args.window + 1]) for start in starts]


# Divergence


def measure_divergences(args, model, windows):
    step = max(1, len(windows) // args.kl_windows)
    prompts = [inputs for inputs, _ in windows[::step][: args.kl_windows]]
    exact = transformers_logits(args.file, prompts)
    sides = {"luban": luban_logits(args, prompts), "llamacpp": llamacpp_logits(model, prompts, args)}
    result = dict(kl_tokens=sum(map(len, prompts)))
    for name, logits in sides.items():
        pairs = [divergence(reference, found) for reference, found in zip(exact, logits)]
        result[f"kl_{name}"] = torch.cat([kl for kl, _ in pairs]).mean().item()
        result[f"same_top_{name}"] = torch.cat([same for _, same in pairs]).double().mean().item()
    return result


def divergence(reference, found):
    """For each token KL(reference || found) in nats, and whether the likeliest next token is the same."""
    kl = []
    for expected, logits in zip(reference.split(64), found.split(64)):
        p, q = (torch.log_softmax(part.double(), dim=-1) for part in (expected, logits))
        kl.append((p.exp() * (p - q)).sum(dim=-1))
    return torch.cat(kl), reference.argmax(dim=-1) == found.argmax(dim=-1)


def transformers_logits(file, prompts):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    with torch.inference_mode():
        return [model(torch.tensor([prompt])).logits[0] for prompt in prompts]


def llamacpp_logits(model, prompts, args):
    found = []
    with Context(model, args.window, threads=args.threads, batch=args.window) as context:
        for prompt in prompts:
            found.append(torch.from_numpy(run(context, prompt).copy()))
    return found


def luban_logits(args, prompts):
    with tempfile.TemporaryDirectory() as folder:
        prompt_file, out = Path(folder) / "prompts.jsonl", Path(folder) / "logits.safetensors"
        prompt_file.write_text("".join(json.dumps(list(prompt)) + "\n" for prompt in prompts), encoding="utf-8")
        luban("eval", "logits", args.file, "--prompt-file", prompt_file, "--out", out, "--threads", args.threads)
        with safe_open(out, "pt") as tensors:
            return [tensors.get_tensor(f"logits_{index}") for index in range(len(prompts))]


def run(context, tokens):
    """The logits of every token of a window from an empty cache."""
    count = len(tokens)
    context.clear()
    context.run(tokens, range(count), [0] * count, [True] * count)
    return context.logits(count)


# Perplexity


def llamacpp_perplexity(model, windows, args):
    nats, tokens = 0.0, 0
    with Context(model, args.window, threads=args.threads, batch=args.window) as context:
        for inputs, targets in windows:
            logits = torch.from_numpy(run(context, inputs))
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="sum")
            nats, tokens = nats + loss.double().item(), tokens + len(targets)
    note(f"{args.file.stem}: llama.cpp scored {tokens} tokens")
    return math.exp(nats / tokens)


def luban_perplexity(args):
    words = ["--context", args.window, "--max-tokens", args.tokens, "--threads", args.threads, "--json"]
    return json.loads(luban("eval", "perplexity", args.file, "--data", args.text, *words))


if __name__ == "__main__":
    main()
