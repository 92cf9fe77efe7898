#!/usr/bin/env bash
# Training speed of luban and PyTorch, in turn: train.sh [CONFIG…]
#
# ROUNDS (5) rounds of each config, in PRECISIONS (f32 bf16 int8): luban, and PyTorch, in bf16 by autocast; int8, which
# it does not train in, is held against the fastest of its modes, as bf16 is. In the first
# COMPILE (1) rounds also PyTorch compiled, in f32 and in bf16 (half a minute of compiling each), and luban with
# recomputation of layers. Every run's JSON line goes to results/train.jsonl; the tables at the end give medians and
# ratios of luban to PyTorch (speed: above 1 luban is faster; memory: below 1 luban needs less), which of its modes was
# PyTorch's best, luban's share of the register peak that `bench limits` saw in the same run, and one JSON line of the
# means. THREADS (2) is for both, STEPS (5) the least number of timed steps.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
threads=${THREADS:-2}
rounds=${ROUNDS:-5}
compiled=${COMPILE:-1}
steps=${STEPS:-5}
precisions=${PRECISIONS:-f32 bf16 int8}
configs=("$@")
[ $# -gt 0 ] || configs=(tiny small gpt2_b4 bert llama)

"$here/setup.sh"
mkdir -p "$here/results"
results=$here/results/train.jsonl
: >"$results"

ours() {
    "$luban" bench train --config "$1" --precision "$2" --steps "$steps" --threads "$threads" --json "${@:3}" >>"$results"
}

theirs() {
    "$here/.venv/bin/python" "$here/train_torch.py" "$1" --mode "$2" --steps "$steps" --threads "$threads" "${@:3}" \
        >>"$results"
}

for round in $(seq "$rounds"); do
    "$luban" bench limits --threads "$threads" --json >>"$results"
    for config in "${configs[@]}"; do
        echo "round $round of $rounds: $config" >&2
        for precision in $precisions; do
            ours "$config" "$precision"
            [ "$precision" = int8 ] || theirs "$config" "$precision"
            if [ "$round" -le "$compiled" ]; then
                ours "$config" "$precision" --recompute
                [ "$precision" = int8 ] || theirs "$config" "$precision" --compile
            fi
        done
    done
done
"$here/.venv/bin/python" "$here/ratios.py" "$results"
