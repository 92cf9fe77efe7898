#!/usr/bin/env bash
# Plain matrix products of luban and of PyTorch's oneDNN on the shapes that training uses: products.sh [f32|bf16]
#
# ROUNDS (5) rounds, one of each in turn; the table gives medians and ratios (above 1 luban is faster).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
threads=${THREADS:-2}
precision=${1:-bf16}

"$here/setup.sh"
mkdir -p "$here/results"
results=$here/results/products-$precision.jsonl
: >"$results"
for round in $(seq "${ROUNDS:-5}"); do
    echo "round $round" >&2
    "$luban" bench limits --threads "$threads" --json >>"$results"
    "$luban" bench products --precision "$precision" --threads "$threads" --json >"$results.luban"
    "$here/.venv/bin/python" "$here/products_torch.py" --threads "$threads" <"$results.luban" >"$results.torch"
    cat "$results.luban" "$results.torch" >>"$results"
    rm "$results.luban" "$results.torch"
done
"$here/.venv/bin/python" "$here/products_ratios.py" "$results"
