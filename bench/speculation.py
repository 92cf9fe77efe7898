"""What speculation.sh runs: tokens a second with guesses over those without, on the same answers.

    speculation.py FILE… [--repetitions 5] [--threads 2]
"""

import argparse
import json
import sys
from pathlib import Path

from common import luban, print_result

LOOKUP_RATIO_MIN = 1.8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    slow = []
    for file in args.files:
        # Ends here where an answer is not the same.
        lines = luban(
            "bench", "speculation", file, "--repetitions", args.repetitions, "--threads", args.threads, "--json"
        )
        results = [json.loads(line) for line in lines.splitlines()]
        for result in results:
            del result["answer"]
            print_result(file=file.name, **result)
        best = max(result["lookup_ratio"] for result in results)
        if best < LOOKUP_RATIO_MIN:
            slow.append(f"{file.name} ({best:.2f})")
    if slow:
        sys.exit(f"below {LOOKUP_RATIO_MIN} times plain decoding: {', '.join(slow)}")


if __name__ == "__main__":
    main()
