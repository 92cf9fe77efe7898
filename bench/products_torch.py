"""Speed of PyTorch's matrix products (oneDNN) on the shapes of `luban bench products`.

    luban bench products --json | products_torch.py [--threads 2] [--seconds 0.2]

Reads the lines of luban on standard input and measures the same products in the same precision. In bf16 the result is
bf16 too, which is what autocast has and what spares memory; luban's is f32.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from common import print_result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for line in map(json.loads, sys.stdin):
        run = product(line)
        gflops = 2e-9 * line["rows"] * line["inputs"] * line["outputs"] / median_seconds(run, args.seconds)
        print_result(**(line | {"bench": "products_torch", "gflops": gflops, "torch": torch.__version__}))


def product(line):
    """A product that is ready to run: its factors lie as they do in a training step."""
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[line["precision"]]
    random = lambda *shape: (torch.rand(shape) - 0.5).to(dtype)
    x = random(line["rows"], line["inputs"])
    weight = random(line["outputs"], line["inputs"])
    dy = random(line["rows"], line["outputs"])
    a, b = {"forward": (x, weight.T), "input": (dy, weight), "weight": (dy.T, x)}[line["form"]]
    c = torch.empty(a.shape[0], b.shape[1], dtype=dtype)
    return lambda: torch.mm(a, b, out=c)


def median_seconds(run, seconds):
    run()
    taken, start = [], time.perf_counter()
    while len(taken) < 5 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        run()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
