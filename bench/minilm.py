"""Holds luban's sentence embeddings of all-MiniLM-L6-v2 against PyTorch's.

    minilm.py MODEL --texts FILE.csv [--column text] [--count 100]

MODEL is the folder that `luban pull minilm-l6-v2` leaves. Transformers runs it as a BertModel in f32 and takes the
mean over the tokens, scaled to length 1; luban gives its side by `luban embed`. Ends with an error when a cosine
falls below --least.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from common import luban, print_result

TOKENS_MAX = 256


def main():
    args = parse_args()
    with open(args.texts, newline="", encoding="utf-8") as file:
        # A text is a line to luban.
        texts = [" ".join(row[args.column].split()) for row in csv.DictReader(file)]
    # From all over the file: it is sorted by intent.
    texts = texts[:: max(1, len(texts) // args.count)][: args.count]
    expected = transformers_embeddings(args.model, texts)
    ours = luban_embeddings(args.model, texts)
    cosine = F.cosine_similarity(ours.double(), expected.double(), dim=1)
    length = ours.double().norm(dim=1)
    print_result(
        bench="minilm",
        texts=len(texts),
        cosine_min=cosine.min().item(),
        cosine_mean=cosine.mean().item(),
        difference_max=(ours - expected).abs().max().item(),
        length_error_max=(length - 1).abs().max().item(),
    )
    if not cosine.min().item() >= args.least:
        sys.exit(f"least cosine {cosine.min().item()}, below {args.least}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--column", default="text")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--least", type=float, default=0.99999)
    return parser.parse_args()


def transformers_embeddings(model_dir, texts):
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModel.from_pretrained(model_dir, dtype=torch.float32).eval()
    embeddings = []
    with torch.no_grad():
        for text in texts:  # one by one, so that no padding takes part
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=TOKENS_MAX)
            embeddings.append(F.normalize(model(**inputs).last_hidden_state[0].mean(0), dim=0))
    return torch.stack(embeddings)


def luban_embeddings(model_dir, texts):
    with tempfile.TemporaryDirectory() as folder:
        prompts, out = Path(folder) / "texts.txt", Path(folder) / "embeddings.safetensors"
        prompts.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
        luban("embed", model_dir, "--texts", prompts, "--out", out)
        return load_file(out)["embeddings"]


if __name__ == "__main__":
    main()
