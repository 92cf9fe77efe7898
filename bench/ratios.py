"""The table of train.sh: medians of its runs and the ratios of luban to PyTorch.

    ratios.py results/train.jsonl
"""

import json
import statistics
import sys

HEADER = ["config", "luban f32", "torch f32", "ratio", "torch bf16", "ratio", "luban MB", "torch f32 MB"]


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        runs = [json.loads(line) for line in lines]
    print(" | ".join(HEADER))
    for config in dict.fromkeys(run["config"] for run in runs):
        ours, f32, bf16 = (
            [run for run in runs if run["config"] == config and side(run) == wanted]
            for wanted in (("luban", "f32"), ("torch", "f32"), ("torch", "bf16"))
        )
        speed = median(ours, "tok_s")
        row = [config, f"{speed:.0f}"]
        for theirs in (f32, bf16):
            row += [f"{median(theirs, 'tok_s'):.0f}", f"{speed / median(theirs, 'tok_s'):.2f}"]
        row += [f"{median(ours, 'peak_rss_mb'):.0f}", f"{median(f32, 'peak_rss_mb'):.0f}"]
        print(" | ".join(row))


def side(run):
    return ("torch" if run.get("bench") == "train_torch" else "luban", run["precision"])


def median(runs, field):
    return statistics.median(run[field] for run in runs)


if __name__ == "__main__":
    main()
