"""The tables of decode.sh, batch.sh and encode.sh: medians, ratios of luban to its peers, and whether the bars hold.

    inference_ratios.py decode|batch|encode results/NAME.jsonl
    inference_ratios.py fastest results/encode.jsonl file|sorted

Ends with an error when a bar does not hold with two threads. `fastest` prints the peer that did most sentences a second
in that order so far, and its size of batch.
"""

import json
import statistics
import sys

BAR_THREADS = 2
# Least ratios, of each format and in the geometric mean of those named.
PROMPT_EACH, PROMPT_BF16, PROMPT_MEAN = 2.0, 1.3, 3.0
ANSWER_EACH, ANSWER_MEAN = 1.15, 1.5
BATCH_EACH = {"Q8_0": 3.0, "Q4_0": 2.5}
TEXTS_EACH = {"file": 2.0, "sorted": 1.2}
GRID_MEAN = 1.2
COSINE_MIN = 0.995


def main():
    what, path, *order = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        runs = [json.loads(line) for line in lines]
    if what == "fastest":
        best = max(chosen(runs, bench="encode_peers", order=order[0]), key=lambda run: run["sentences_s"])
        print(best["runtime"], best["batch"])
        return
    checks = {"decode": decode, "batch": batch, "encode": encode}[what](runs)
    print()
    for name, value, least in checks:
        print(f"{'holds' if value >= least else 'FAILS'}: {name} {value:.3f}, at least {least}")
    missed = [name for name, value, least in checks if not value >= least]
    summary = {name: round(value, 4) for name, value, _ in checks}
    print(json.dumps({"bench": f"{what}_ratios", "holds": not missed, **summary}))
    if missed:
        sys.exit(1)


def decode(runs):
    checks = []
    for threads in distinct(runs, "threads"):
        print(f"\n{threads} thread(s): tokens/s of luban, of llama.cpp, ratio")
        print("format | prompt of 512 | | | answer of 128 | | | read GB/s | share of the bandwidth")
        prompt, answer = {}, {}
        for format in distinct(runs, "format"):
            here = dict(threads=threads, format=format)
            ours, theirs = chosen(runs, bench="decode", **here), chosen(runs, bench="llamacpp_decode", **here)
            prompt[format], prompts = ratio(ours, theirs, "pp512")
            answer[format], answers = ratio(ours, theirs, "tg128")
            read, share = median(ours, "read_gb_s"), median(ours, "bandwidth_share")
            print(f"{format} | {prompts} | {answers} | {read:.1f} | {share:.2f}")
        quantized = [value for format, value in prompt.items() if format != "BF16"]
        print(f"geometric mean | {mean(quantized):.2f} without BF16 | {mean(answer.values()):.2f}")
        if threads == BAR_THREADS:
            for format in prompt:
                checks.append((f"prompt_{format}", prompt[format], PROMPT_BF16 if format == "BF16" else PROMPT_EACH))
                checks.append((f"answer_{format}", answer[format], ANSWER_EACH))
            checks.append(("answer_mean", mean(answer.values()), ANSWER_MEAN))
            if quantized:
                checks.append(("prompt_mean", mean(quantized), PROMPT_MEAN))
    return checks


def batch(runs):
    checks = []
    print("threads | format | sequences | tokens/s of luban | of llama.cpp | ratio")
    for threads in distinct(runs, "threads"):
        for format in distinct(runs, "format"):
            for sequences in distinct(runs, "sequences"):
                here = dict(threads=threads, format=format, sequences=sequences)
                ours, theirs = chosen(runs, bench="batch", **here), chosen(runs, bench="llamacpp_batch", **here)
                value, shown = ratio(ours, theirs, "tg")
                print(f"{threads} | {format} | {sequences} | {shown}")
                if threads == BAR_THREADS and format in BATCH_EACH:
                    checks.append((f"{format}_{sequences}", value, BATCH_EACH[format]))
    return checks


def encode(runs):
    checks = []
    for threads in distinct(runs, "threads"):
        at = [run for run in runs if run["threads"] == threads]
        checks_here = encode_texts(at) + encode_grid(at)
        checks += checks_here if threads == BAR_THREADS else []
    return checks


def encode_texts(runs):
    checks = []
    threads = runs[0]["threads"]
    print(f"\n{threads} thread(s), the questions: sentences/s (least cosine to f32)")
    for order in ("file", "sorted"):
        texts = [run for run in runs if "texts" in run]
        ours = {}
        for precision in ("int8", "bf16", "f32"):
            own = chosen(texts, bench="encode", precision=precision, sorted=order == "sorted")
            ours[precision] = median(own, "sentences_s")
            cosine = min(run["cosine_min"] for run in own)
            print(f"{order}: luban {precision} {ours[precision]:.0f} ({cosine:.5f})")
            if precision == "int8":
                checks.append((f"cosine_{order}", cosine, COSINE_MIN))
        best = {}
        for runtime in ("openvino", "onnxruntime"):
            theirs = chosen(texts, bench="encode_peers", runtime=runtime, order=order)
            by_batch = {size: median(chosen(theirs, batch=size), "sentences_s") for size in distinct(theirs, "batch")}
            size = max(by_batch, key=by_batch.get)
            best[runtime] = by_batch[size]
            print(f"{order}: {runtime} {best[runtime]:.0f} with batches of {size}, luban {ours['int8'] / best[runtime]:.2f}")
        checks.append((f"texts_{order}", ours["int8"] / max(best.values()), TEXTS_EACH[order]))
    return checks


def encode_grid(runs):
    print("\nbatch | length | luban int8 | OpenVINO | ONNX Runtime | ratio to the faster")
    grid = [run for run in runs if "length" in run]
    ratios = []
    for batch in distinct(grid, "batch"):
        for length in distinct(grid, "length"):
            shape = dict(batch=batch, length=length)
            ours = median(chosen(grid, bench="encode", **shape), "sentences_s")
            theirs = [
                median(chosen(grid, bench="encode_peers", runtime=runtime, **shape), "sentences_s")
                for runtime in ("openvino", "onnxruntime")
            ]
            ratios.append(ours / max(theirs))
            print(f"{batch} | {length} | {ours:.0f} | {theirs[0]:.0f} | {theirs[1]:.0f} | {ratios[-1]:.2f}")
    print(f"geometric mean {mean(ratios):.2f}")
    return [("grid_mean", mean(ratios), GRID_MEAN)]


def ratio(ours, theirs, field):
    """The ratio of the medians, and how a table shows it."""
    ours, theirs = median(ours, field), median(theirs, field)
    return ours / theirs, f"{ours:.0f} | {theirs:.0f} | {ours / theirs:.2f}"


def median(runs, field):
    return statistics.median(run[field] for run in runs)


def mean(ratios):
    return statistics.geometric_mean(ratios)


def distinct(runs, field):
    return list(dict.fromkeys(run[field] for run in runs if field in run))


def chosen(runs, **fields):
    """Those with these values; ends the program where there are none."""
    found = [run for run in runs if all(run.get(name) == value for name, value in fields.items())]
    if not found:
        sys.exit(f"there is no run with {fields}")
    return found


if __name__ == "__main__":
    main()
