#!/usr/bin/env bash
# Training speed of luban and PyTorch, in turn: train.sh [CONFIG…]
#
# ROUNDS (5) rounds of each config, in PRECISIONS (f32 bf16): luban; PyTorch, bf16 by autocast, and, with COMPILE=1,
# compiled in bf16 (half a minute of compiling each). Every run's JSON line goes to results/train.jsonl; the tables at
# the end give medians and ratios of luban to PyTorch (speed: above 1 luban is faster; memory: below 1 luban needs
# less), luban's share of the register peak that `bench limits` saw in the same run, and one JSON line of the means.
# THREADS (2) is for both.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
threads=${THREADS:-2}
rounds=${ROUNDS:-5}
precisions=${PRECISIONS:-f32 bf16}
configs=("$@")
[ $# -gt 0 ] || configs=(tiny small gpt2_b4 bert llama)

"$here/setup.sh"
mkdir -p "$here/results"
results=$here/results/train.jsonl
: >"$results"
for round in $(seq "$rounds"); do
    "$luban" bench limits --threads "$threads" --json >>"$results"
    for config in "${configs[@]}"; do
        echo "round $round of $rounds: $config" >&2
        for precision in $precisions; do
            "$luban" bench train --config "$config" --precision "$precision" --threads "$threads" --json >>"$results"
            "$here/.venv/bin/python" "$here/train_torch.py" "$config" --mode "$precision" --threads "$threads" \
                >>"$results"
        done
        if [ -n "${COMPILE:-}" ]; then
            "$here/.venv/bin/python" "$here/train_torch.py" "$config" --mode bf16 --compile --threads "$threads" \
                >>"$results"
        fi
    done
done
"$here/.venv/bin/python" "$here/ratios.py" "$results"
