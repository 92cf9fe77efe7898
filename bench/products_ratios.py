"""The table of products.sh: medians of luban and PyTorch for each product, and their ratios.

    products_ratios.py results/products-bf16.jsonl
"""

import json
import statistics
import sys

KEY = ("rows", "inputs", "outputs", "form")


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        runs = [json.loads(line) for line in lines]
    sides = {name: {} for name in ("products", "products_torch")}
    configs = {}
    for run in runs:
        if run["bench"] in sides:
            key = tuple(run[name] for name in KEY)
            sides[run["bench"]].setdefault(key, []).append(run["gflops"])
            configs.setdefault(key, run["config"])
    precision = next(run["precision"] for run in runs if "precision" in run)
    threads = max(run["threads"] for run in runs)
    peak = max(run[f"{precision}_gflops"] for run in runs if run["bench"] == "limits" and run["threads"] == threads)
    print(f"{precision}, {threads} threads; register peak {peak:.0f} GFLOP/s\n")
    print("config | rows | inputs | outputs | product | luban GFLOP/s | share of peak | torch GFLOP/s | ratio")
    ratios = []
    for key, config in configs.items():
        ours, theirs = (statistics.median(sides[side][key]) for side in sides)
        ratios.append(ours / theirs)
        rows, inputs, outputs, form = key
        print(
            f"{config} | {rows} | {inputs} | {outputs} | {form} | {ours:.0f} | {ours / peak:.2f} | {theirs:.0f}"
            f" | {ours / theirs:.2f}"
        )
    mean = statistics.geometric_mean(ratios)
    below = sum(ratio < 0.95 for ratio in ratios)
    print(f"\ngeometric mean of the ratios {mean:.2f}, least {min(ratios):.2f}, below 0.95: {below} of {len(ratios)}")
    print(json.dumps({"bench": "products_ratios", "precision": precision, "mean": mean, "least": min(ratios)}))


if __name__ == "__main__":
    main()
