"""What load.sh runs: the time to the first token and the memory of `luban bench load`.

    load.py FILE… [--rounds 5] [--threads 2]
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from common import luban, print_result

FIRST_TOKEN_MS_MAX = 500
RESIDENT_TIMES, RESIDENT_FREE_MB = 1.1, 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    results = [measure(file, args) for file in args.files]
    for result in results:
        print_result(bench="load", threads=args.threads, rounds=args.rounds, **result)
    first = results[0]
    if not (first["first_token_ms"] < FIRST_TOKEN_MS_MAX and first["peak_rss_mb"] <= first["rss_mb_max"]):
        sys.exit(f"above {FIRST_TOKEN_MS_MAX} ms or {first['rss_mb_max']:.0f} MiB")


def measure(file, args):
    runs, process_ms = [], []
    for _ in range(1 + args.rounds):
        start = time.perf_counter()
        line = luban("bench", "load", file, "--threads", args.threads, "--json")
        process_ms.append(1e3 * (time.perf_counter() - start))
        runs.append(json.loads(line))
    runs, process_ms = runs[1:], process_ms[1:]
    median = {name: statistics.median(run[name] for run in runs) for name in ("load_ms", "first_token_ms", "rss_mb")}
    return dict(
        file=file.name,
        file_mb=file.stat().st_size / 2**20,
        **median,
        process_ms=statistics.median(process_ms),
        peak_rss_mb=max(run["peak_rss_mb"] for run in runs),
        weights_mb=runs[0]["weights_mb"],
        cache_mb=runs[0]["cache_mb"],
        rss_mb_max=RESIDENT_TIMES * (runs[0]["weights_mb"] + runs[0]["cache_mb"]) + RESIDENT_FREE_MB,
    )


if __name__ == "__main__":
    main()
