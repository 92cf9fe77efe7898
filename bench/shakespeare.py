"""What came of bench/shakespeare.sh, beside the time that PyTorch would have needed.

    shakespeare.py OUT [--rounds 3] [--threads 2] -- SETTINGS…

Speeds are measured in turn, in one sitting: some steps of `luban pretrain` with the run's own SETTINGS, and the same
model, batch and dropout in PyTorch, in f32 and in bf16, of which the faster counts. Times at those speeds are the
tokens of the run over them; the run's own time is what its steps took, whatever else the machine did.
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from common import luban, note, print_result, read_manifest

STEPS = 15
# Steps until memory and clock have settled.
STEPS_UNTIMED = 3


def main():
    args = parse_args()
    score = json.loads(luban("eval", "perplexity", args.out / "model", "--data", args.out / "corpus", "--json"))
    metrics = read_manifest(args.out / "model")["metrics"]
    ours, theirs = [], []
    for number in range(args.rounds):
        note(f"speed, round {number + 1} of {args.rounds}")
        ours.append(luban_speed(args.out / "speed", args.settings))
        theirs.append(torch_speed(args.threads))
    speed = {"luban": statistics.median(ours), "torch": statistics.median(theirs)} if ours else {}
    print_result(
        bench="shakespeare",
        # The end of each piece of text counts too, as if it were part of its last character.
        validation_nats_per_character=score["bits_per_byte"] * math.log(2),
        validation_characters=score["bytes"],
        parameters=metrics["parameters"],
        steps=metrics["steps"],
        tokens=metrics["tokens"],
        seconds=metrics["seconds"],
        tokens_per_second=speed,
        seconds_at_that_speed={name: metrics["tokens"] / value for name, value in speed.items()},
        times_faster=speed["luban"] / speed["torch"] if speed else None,
    )


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    own, _, settings = split_at(sys.argv[1:], "--")
    args = parser.parse_args(own)
    args.settings = settings
    return args


def split_at(words, mark):
    """What stands before the first such word, that word, and what stands after it."""
    at = words.index(mark) if mark in words else len(words)
    return words[:at], words[at : at + 1], words[at + 1 :]


def luban_speed(target, settings):
    """Tokens a second of the median step."""
    for name in ("", ".run", ".checkpoints"):
        shutil.rmtree(f"{target}{name}", ignore_errors=True)
    luban("pretrain", *settings, "--steps", STEPS, "--checkpoint-every", 1000, "--out", target)
    lines = Path(f"{target}.run/history.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [entry for entry in map(json.loads, lines) if entry["kind"] == "step"]
    return statistics.median(step["tokens_per_second"] for step in steps[STEPS_UNTIMED:])


def torch_speed(threads):
    """Tokens a second of the faster of PyTorch's modes."""
    return max(torch_speed_in(mode, threads) for mode in ("f32", "bf16"))


def torch_speed_in(mode, threads):
    script = Path(__file__).with_name("train_torch.py")
    command = [sys.executable, script, "shakespeare", "--mode", mode, "--threads", str(threads)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["tok_s"]


if __name__ == "__main__":
    main()
