#!/usr/bin/env python3
"""One precision's line for precisions.sh: precisions.py NAME MANIFEST LOG RESULTS.

Takes the final validation loss from the model's manifest and the curve from what the run wrote on standard error; adds
a line of JSON to RESULTS and prints the ratio to the first line there, that of f32.
"""

import json
import re
import sys


def main():
    name, manifest, log, results = sys.argv[1:]
    with open(manifest, encoding="utf-8") as file:
        metrics = json.load(file)["metrics"]
    with open(log, encoding="utf-8", errors="replace") as file:
        points = re.findall(r"step (\d+): validation loss ([\d.]+)", file.read())
    line = {
        "bench": "precisions",
        "precision": name,
        "steps": metrics["steps"],
        "tokens": metrics["tokens"],
        "validation_loss": metrics["validation_loss"],
        "curve": [[int(step), float(loss)] for step, loss in points],
    }
    with open(results, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    with open(results, encoding="utf-8") as file:
        exact = json.loads(file.readline())["validation_loss"]
    loss = line["validation_loss"]
    print(f"{name:10}  validation loss {loss:.5f}  over f32 {loss / exact:.5f}", flush=True)


if __name__ == "__main__":
    main()
