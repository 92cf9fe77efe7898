"""Holds `luban eval perplexity` against transformers, on the same model and the same windows.

    perplexity_transformers.py MODEL --corpus CORPUS

Loads the model artifact with AutoModelForCausalLM and computes bits per byte as validation.py defines them, then runs
`luban eval perplexity`. Ends with an error when the two differ by more than --tolerance, relative.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from common import luban, print_result
from validation import evaluate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    eos, context = model.config.eos_token_id, model.config.max_position_embeddings
    theirs = evaluate(lambda inputs: model(inputs).logits, tokenizer, eos, args.corpus, context)
    ours = json.loads(luban("eval", "perplexity", args.model, "--data", args.corpus, "--json"))
    difference = abs(ours["bits_per_byte"] / theirs["bits_per_byte"] - 1)
    print_result(
        bench="perplexity_transformers",
        bits_per_byte_luban=ours["bits_per_byte"],
        bits_per_byte_transformers=theirs["bits_per_byte"],
        difference_relative=difference,
        tokens=theirs["tokens"],
        bytes=theirs["bytes"],
    )
    if not difference <= args.tolerance:
        sys.exit(f"bits per byte differ by a share of {difference}, more than {args.tolerance}")


if __name__ == "__main__":
    main()
