"""Writes the sentences, and PyTorch's embeddings of them, that luban's own test of all-MiniLM-L6-v2 compares with.

    minilm_vectors.py MODEL

MODEL is the folder that `luban pull minilm-l6-v2` leaves. The files go to crates/engine/tests/vectors: 100 sentences,
one a line, and their embeddings as f16, whose rounding moves a cosine by less than 1e-6.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from minilm import transformers_embeddings

FOLDER = Path(__file__).parents[1] / "crates/engine/tests/vectors"
OPENINGS = [
    "My card",
    "The new invoice",
    "A transfer to my sister abroad",
    "This server, which nobody has restarted since spring,",
    "Yesterday's backup",
    "The patient in room 12",
    "Our oldest customer",
    "A red fox",
    "The compiler",
    "Le train de nuit",
    "Ein Brief vom Finanzamt",
    "我的银行卡",
    "The function parse_header(&bytes[0..16])",
    "An answer from https://example.org/status?id=42",
    "Grandmother's recipe for plum cake",
    "The proof of the second lemma",
    "E-mail no. 7 (unread!)",
    "Nobody",
    "The café around the corner",
    "x",
]
ENDINGS = [
    " has not arrived yet.",
    " costs 12.50 € more than it did last year, and I would like to know why?",
    " was found again, to everybody's surprise, behind the heating of the small meeting room on the third floor.",
    "!",
    ": it works only on Mondays, it fails when two people look at it, it is slow when it rains, it is fast when nobody "
    "needs it, and when you ask those who built it what it is for, they say that it was there before they came; so we "
    "have left it as it is, have written down what we know, and come back to it every summer with new ideas.",
]


def main():
    texts = [opening + ending for opening in OPENINGS for ending in ENDINGS]
    embeddings = transformers_embeddings(Path(sys.argv[1]), texts)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "minilm.txt").write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    save_file({"embeddings": embeddings.to(torch.float16)}, FOLDER / "minilm.safetensors")


if __name__ == "__main__":
    main()
