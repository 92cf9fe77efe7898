"""Holds luban's logits with forced instruction sets against those with the machine's best.

    isa_logits.py FILE.gguf --text FILE.txt [--isas "avx2 scalar"] [--tokens 2000]
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

from common import luban, print_result
from llamacpp import Model

WINDOW = 500
DIVERGENCE_MAX = 1e-4
SAME_TOP_MIN = 0.99


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--isas", type=str.split, default=["avx2", "scalar"])
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokens = list(Model(args.file).tokens(args.text.read_text(encoding="utf-8")[: 8 * args.tokens]))[: args.tokens]
    prompts = [tokens[start : start + WINDOW] for start in range(0, len(tokens), WINDOW)]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        best = logits(args, prompts, None, folder)
        for isa in args.isas:
            result = compare(best, logits(args, prompts, isa, folder))
            print_result(bench="isa_logits", format=args.file.stem, isa=isa, tokens=len(tokens), **result)
            failed |= not (result["kl_mean"] <= DIVERGENCE_MAX and result["same_top"] >= SAME_TOP_MIN)
    if failed:
        sys.exit(f"{args.file.stem}: the instruction sets do not agree")


def logits(args, prompts, isa, folder):
    """The logits of every token with an instruction set, or with the machine's best."""
    if isa is None:
        os.environ.pop("LUBAN_CPU", None)
    else:
        os.environ["LUBAN_CPU"] = isa
    prompt_file, out = Path(folder) / "prompts.jsonl", Path(folder) / f"{isa}.safetensors"
    prompt_file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts), encoding="utf-8")
    luban("eval", "logits", args.file, "--prompt-file", prompt_file, "--out", out, "--threads", args.threads)
    with safe_open(out, "pt") as tensors:
        found = torch.cat([tensors.get_tensor(f"logits_{index}") for index in range(len(prompts))])
    out.unlink()
    return found


def compare(best, found):
    kl = []
    for expected, other in zip(best.split(64), found.split(64)):
        p, q = (torch.log_softmax(part.double(), dim=-1) for part in (expected, other))
        kl.append((p.exp() * (p - q)).sum(dim=-1))
    kl = torch.cat(kl)
    return dict(
        kl_mean=kl.mean().item(),
        kl_max=kl.max().item(),
        same_top=(best.argmax(dim=-1) == found.argmax(dim=-1)).double().mean().item(),
        same_bits=torch.equal(best, found),
    )


if __name__ == "__main__":
    main()
