"""Bits per byte on a corpus's validation split, cut exactly as `luban eval perplexity` cuts it.

The documents stand in their order in one stream, an end-of-text token before each and after the last. Windows of the
context's length do not overlap, the last may be shorter, and every token after the first is predicted exactly once.
The sum of the losses is divided by the UTF-8 bytes of the documents, which the end-of-text tokens add nothing to.
"""

import math

import torch
import torch.nn.functional as F

from common import read_documents

WINDOWS_AT_ONCE = 16


def stream(tokenizer, eos, texts):
    """Token ids of all texts as one tensor: eos, text, eos, text, …, eos."""
    ids = [eos]
    for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        ids.extend(encoding.ids)
        ids.append(eos)
    return torch.tensor(ids)


def windows(ids, length):
    """Pairs of inputs and targets, each (windows, tokens): the whole ones, in batches, and the rest."""
    inputs, targets = ids[:-1], ids[1:]
    whole = len(inputs) // length * length
    for start in range(0, whole, WINDOWS_AT_ONCE * length):
        end = min(start + WINDOWS_AT_ONCE * length, whole)
        yield inputs[start:end].view(-1, length), targets[start:end].view(-1, length)
    if whole < len(inputs):
        yield inputs[None, whole:], targets[None, whole:]


def evaluate(logits_of, tokenizer, eos, corpus, length):
    """The figures of a model, given as a function from token ids to logits."""
    texts = read_documents(corpus, "valid")
    ids = stream(tokenizer, eos, texts)
    nats = 0.0
    with torch.no_grad():
        for inputs, targets in windows(ids, length):
            logits = logits_of(inputs).flatten(0, 1).float()
            nats += F.cross_entropy(logits, targets.flatten(), reduction="sum").double().item()
    text_bytes = sum(len(text.encode()) for text in texts)
    tokens = len(ids) - 1
    return dict(
        bits_per_byte=nats / math.log(2) / text_bytes,
        perplexity=math.exp(nats / tokens),
        tokens=tokens,
        bytes=text_bytes,
    )
