#!/usr/bin/env bash
# Training speed of luban and PyTorch, in turn: train.sh [CONFIG…]
#
# ROUNDS (3) rounds of each config: luban in f32, PyTorch in f32, PyTorch in bf16. Every run's JSON line goes to
# results/train.jsonl; the table at the end gives the medians and the ratios of luban to PyTorch (above 1 luban is
# faster). THREADS (2) is for both.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
threads=${THREADS:-2}
rounds=${ROUNDS:-3}
configs=("$@")
[ $# -gt 0 ] || configs=(tiny small gpt2_b4 bert llama)

"$here/setup.sh"
mkdir -p "$here/results"
results=$here/results/train.jsonl
: >"$results"
for round in $(seq "$rounds"); do
    for config in "${configs[@]}"; do
        echo "round $round of $rounds: $config" >&2
        "$luban" bench train --config "$config" --precision f32 --threads "$threads" --json >>"$results"
        for mode in f32 bf16; do
            "$here/.venv/bin/python" "$here/train_torch.py" "$config" --mode "$mode" --threads "$threads" >>"$results"
        done
    done
done
"$here/.venv/bin/python" "$here/ratios.py" "$results"
