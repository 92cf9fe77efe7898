"""The tables of train.sh: medians of its runs and the ratios of luban to PyTorch.

    ratios.py results/train.jsonl
"""

import json
import statistics
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        runs = [json.loads(line) for line in lines]
    peaks = best_peaks([run for run in runs if run["bench"] == "limits"])
    runs = [run for run in runs if run["bench"] != "limits"]
    configs = list(dict.fromkeys(run["config"] for run in runs))
    print(
        f"register peak: f32 {peaks['f32']:.0f}, bf16 {peaks['bf16']:.0f} GFLOP/s (by {peaks['way']}),"
        f" int8 {peaks['int8']:.0f} GOP/s\n"
    )
    summary = {"bench": "train_ratios"}
    for precision in ("f32", "bf16", "int8"):
        if not any(run["precision"] == precision for run in runs if not is_torch(run)):
            continue
        speeds = []
        print(f"luban in {precision}")
        print("config | luban tok/s | share of peak | torch tok/s | its mode | ratio | luban MB | torch MB | ratio")
        for config in configs:
            of_config = [run for run in runs if run["config"] == config]
            both = [run for run in of_config if not is_torch(run) and run["precision"] == precision]
            ours = [run for run in both if not run["recompute"]]
            # f32 against f32; bf16 and int8 against the fastest of what PyTorch offers.
            theirs = fastest([run for run in of_config if is_torch(run)], precision)
            speed, memory = (median(ours, field) / median(theirs, field) for field in ("tok_s", "peak_rss_mb"))
            speeds.append(speed)
            share = median(ours, "gflops") / (peaks[precision] or float("nan"))
            print(
                f"{config} | {median(ours, 'tok_s'):.0f} | {share:.2f} | {median(theirs, 'tok_s'):.0f}"
                f" | {mode_name(theirs)} | {speed:.2f} | {median(ours, 'peak_rss_mb'):.0f}"
                f" | {median(theirs, 'peak_rss_mb'):.0f} | {memory:.2f}"
            )
            summary[f"{precision}_{config}"] = {
                "speed": speed,
                "memory": memory,
                "share_of_peak": share,
                "torch_mode": mode_name(theirs),
            } | recomputed([run for run in both if run["recompute"]], ours, theirs)
        mean = statistics.geometric_mean(speeds)
        print(f"geometric mean of the speeds' ratios: {mean:.2f}\n")
        summary[f"{precision}_geometric_mean"] = mean
    print(json.dumps(summary))


def recomputed(runs, ours, theirs):
    """Prints what recomputing layers costs and spares, where that was measured."""
    if not runs:
        return {}
    speed, memory = (median(runs, field) / median(ours, field) for field in ("tok_s", "peak_rss_mb"))
    of_torch = median(runs, "peak_rss_mb") / median(theirs, "peak_rss_mb")
    print(f"  with recomputation: {speed:.2f} of the speed, {memory:.2f} of the memory, {of_torch:.2f} of torch's")
    return {"recompute_speed": speed, "recompute_memory": of_torch}


def best_peaks(limits):
    most_threads = max(run["threads"] for run in limits)
    of_all = [run for run in limits if run["threads"] == most_threads]
    return {
        "f32": max(run["f32_gflops"] for run in of_all),
        "bf16": max(run["bf16_gflops"] for run in of_all),
        # Zero where there are no such instructions.
        "int8": max((run["int8_gops"] or 0 for run in of_all), default=0),
        "way": max(of_all, key=lambda run: run["bf16_gflops"])["bf16_by"],
    }


def fastest(runs, precision):
    """The runs of the fastest mode: of those in f32, or of all."""
    modes = {}
    for run in runs:
        modes.setdefault((run["precision"], run["compile"]), []).append(run)
    if precision == "f32":
        modes = {mode: runs for mode, runs in modes.items() if mode[0] == "f32"}
    return max(modes.values(), key=lambda runs: median(runs, "tok_s"))


def mode_name(runs):
    return runs[0]["precision"] + (", compiled" if runs[0]["compile"] else "")


def is_torch(run):
    return run["bench"] == "train_torch"


def median(runs, field):
    return statistics.median(run[field] for run in runs)


if __name__ == "__main__":
    main()
