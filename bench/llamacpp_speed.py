"""Tokens per second of llama.cpp on a GGUF file, measured as `luban bench decode` and `luban bench batch` measure.

    llamacpp_speed.py decode FILE.gguf [--threads 2] [--repetitions 3]
    llamacpp_speed.py batch  FILE.gguf --sequences 8

decode: `pp512`, a prompt of 512 random tokens in one pass, with the logits of the last; `tg128`, 128 tokens one by one
from an empty cache, each with its logits. What llama-bench calls so.
batch: `tg`, 64 tokens each for all sequences together, after prompts of 64: the time of the prompts does not count.

Medians of the repetitions, after one that does not count. Nothing is sampled.
"""

import argparse
import random
import statistics
import time
from pathlib import Path

from common import print_result
from llamacpp import Context, Model, check_build

PROMPT, GENERATED = 512, 128
BATCH_PROMPT, BATCH_GENERATED = 64, 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["decode", "batch"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    check_build()
    model = Model(args.file)
    conditions = dict(format=args.file.stem, threads=args.threads)
    if args.what == "decode":
        print_result(bench="llamacpp_decode", **conditions, **decode(model, args.threads, args.repetitions))
    else:
        tg = batch(model, args.threads, args.sequences, args.repetitions)
        print_result(bench="llamacpp_batch", **conditions, sequences=args.sequences, tg=tg)


def decode(model, threads, repetitions):
    dice = random.Random(0)
    prompt_s, generated_s = [], []
    with Context(model, PROMPT + GENERATED, threads=threads) as context:
        for _ in range(1 + repetitions):
            tokens = [dice.randrange(model.vocab_size) for _ in range(PROMPT)]
            wanted = [index == PROMPT - 1 for index in range(PROMPT)]
            context.clear()
            start = time.perf_counter()
            context.run(tokens, range(PROMPT), [0] * PROMPT, wanted)
            prompt_s.append(time.perf_counter() - start)
            context.clear()
            start = time.perf_counter()
            for position in range(GENERATED):
                context.run([tokens[position]], [position], [0], [True])
            generated_s.append(time.perf_counter() - start)
    return {f"pp{PROMPT}": PROMPT / median(prompt_s), f"tg{GENERATED}": GENERATED / median(generated_s)}


def batch(model, threads, sequences, repetitions):
    dice = random.Random(0)
    seconds = []
    positions = sequences * (BATCH_PROMPT + BATCH_GENERATED)
    with Context(model, positions, sequences=sequences, threads=threads) as context:
        for _ in range(1 + repetitions):
            context.clear()
            for sequence in range(sequences):
                tokens = [dice.randrange(model.vocab_size) for _ in range(BATCH_PROMPT)]
                wanted = [index == BATCH_PROMPT - 1 for index in range(BATCH_PROMPT)]
                context.run(tokens, range(BATCH_PROMPT), [sequence] * BATCH_PROMPT, wanted)
            start = time.perf_counter()
            for position in range(BATCH_PROMPT, BATCH_PROMPT + BATCH_GENERATED):
                tokens = [dice.randrange(model.vocab_size) for _ in range(sequences)]
                context.run(tokens, [position] * sequences, range(sequences), [True] * sequences)
            seconds.append(time.perf_counter() - start)
    return sequences * BATCH_GENERATED / median(seconds)


def median(seconds):
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
