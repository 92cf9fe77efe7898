"""What the scripts of this folder share: finding and running luban, reading artifacts, timing, one JSON line out."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def luban_binary():
    """$LUBAN, or the release build of this checkout."""
    binary = Path(os.environ.get("LUBAN", ROOT / "target/release/luban"))
    if not binary.exists():
        sys.exit(f"{binary} is not there: cargo build --release, or set LUBAN")
    return str(binary)


def luban(*words):
    """Runs luban to the end and returns what it printed on standard output; its progress goes to standard error."""
    command = [luban_binary(), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command)}` ended with {done.returncode}")
    return done.stdout


def read_manifest(artifact):
    """The luban.json of an artifact's folder."""
    return json.loads((Path(artifact) / "luban.json").read_text(encoding="utf-8"))


def read_documents(corpus, split):
    """The texts of a corpus artifact's `train` or `valid` split, in their order."""
    with open(Path(corpus) / f"{split}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def median_seconds(run, rounds=5, warmup=1, seconds_min=3.0, seconds_max=40.0):
    """Median seconds of `run()`: at least `rounds` calls and `seconds_min` in all, unless `seconds_max` pass first."""
    for _ in range(warmup):
        run()
    taken, start = [], time.perf_counter()
    while True:
        before = time.perf_counter()
        run()
        now = time.perf_counter()
        taken.append(now - before)
        if now - start >= seconds_max or (len(taken) >= rounds and now - start >= seconds_min):
            return statistics.median(taken)


def peak_rss_mb():
    """Peak resident memory of this process, MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def note(text):
    """A line for the person who watches."""
    print(text, file=sys.stderr, flush=True)


def print_result(**fields):
    """The one JSON line that a script ends with."""
    print(json.dumps(fields), flush=True)
