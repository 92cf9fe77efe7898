"""Hugging Face's tokenizers for bench/tokenizer.sh: makes the tokenizers that are compared, and measures them.

    tokenizer_hf.py make OUT --gpt2 DIR [--minilm tokenizer.json]
    tokenizer_hf.py measure TEXT --tokenizer tokenizer.json [--lines] [--threads 2] [--rounds 5]
    tokenizer_hf.py lines FILE.csv --column text

make     writes OUT/gpt2.json, OUT/digits.json (digits apart, as SmolLM2's), OUT/llama3.json, OUT/qwen2.json (both with
         those models' ways of cutting words) of GPT-2's published vocabulary, and OUT/minilm.json
measure  the very line of `luban bench tokenizer TEXT --json`, by this library
lines    the texts of a table, one a line
"""

import argparse
import csv
import hashlib
import os
import struct
from pathlib import Path

import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from common import median_seconds, peak_rss_mb, print_result

PIECE_CHARACTERS_MIN = 2000
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def main():
    args = parse_args()
    if args.task == "make":
        make(args)
    elif args.task == "measure":
        measure(args)
    else:
        with open(args.table, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                print(" ".join(row[args.column].split()))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    making = tasks.add_parser("make")
    making.add_argument("out", type=Path)
    making.add_argument("--gpt2", type=Path, required=True, metavar="DIR")
    making.add_argument("--minilm", type=Path, metavar="tokenizer.json")
    measuring = tasks.add_parser("measure")
    measuring.add_argument("text", type=Path)
    measuring.add_argument("--tokenizer", type=Path, required=True)
    measuring.add_argument("--lines", action="store_true")
    measuring.add_argument("--megabytes", type=float)
    measuring.add_argument("--threads", type=int, default=2)
    measuring.add_argument("--rounds", type=int, default=5)
    lines = tasks.add_parser("lines")
    lines.add_argument("table", type=Path)
    lines.add_argument("--column", default="text")
    return parser.parse_args()


def make(args):
    args.out.mkdir(parents=True, exist_ok=True)
    split = lambda digits: pre_tokenizers.Split(Regex(CONTRACTIONS + WORDS % digits), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with_words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ways = {
        "gpt2": with_words,
        "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), with_words]),
        "llama3": pre_tokenizers.Sequence([split("{1,3}"), bytes_only]),
        "qwen2": pre_tokenizers.Sequence([split(""), bytes_only]),
    }
    for name, way in ways.items():
        tokenizer = Tokenizer(models.BPE.from_file(str(args.gpt2 / "encoder.json"), str(args.gpt2 / "vocab.bpe")))
        tokenizer.pre_tokenizer = way
        if name == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.save(str(args.out / f"{name}.json"))
    if args.minilm:
        tokenizer = Tokenizer.from_file(str(args.minilm))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.save(str(args.out / "minilm.json"))


def measure(args):
    # The library reads these when it first starts its threads.
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    data = args.text.read_bytes()
    text = data[: int(args.megabytes * 1e6)].decode(errors="ignore") if args.megabytes else data.decode()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    pieces = text.split("\n")[: text.count("\n")] if args.lines else cut(text)
    special = args.lines
    megabytes = sum(len(piece.encode()) for piece in pieces) / 1e6
    one_by_one = median_seconds(
        lambda: [tokenizer.encode(piece, add_special_tokens=special) for piece in pieces], args.rounds, 1, 0.5
    )
    batch = median_seconds(
        lambda: tokenizer.encode_batch_fast(pieces, add_special_tokens=special), args.rounds, 1, 0.5
    )
    tokens, digest = 0, hashlib.sha256()
    for piece in pieces:
        ids = tokenizer.encode(piece, add_special_tokens=special).ids
        tokens += len(ids)
        digest.update(struct.pack(f"<{len(ids)}I", *ids))
    print_result(
        bench="tokenizer_hf",
        text=args.text.name,
        threads=args.threads,
        megabytes=megabytes,
        pieces=len(pieces),
        tokens=tokens,
        one_by_one_mb_s=megabytes / one_by_one,
        batch_mb_s=megabytes / batch,
        piece_us=one_by_one * 1e6 / len(pieces),
        ids_sha256=digest.hexdigest(),
        peak_rss_mb=peak_rss_mb(),
        tokenizers=tokenizers.__version__,
    )


def cut(text):
    """Pieces that end with the first line that ends after PIECE_CHARACTERS_MIN characters."""
    pieces, start = [], 0
    while start < len(text):
        line_end = text.find("\n", start + PIECE_CHARACTERS_MIN)
        end = len(text) if line_end < 0 else line_end + 1
        pieces.append(text[start:end])
        start = end
    return pieces


if __name__ == "__main__":
    main()
