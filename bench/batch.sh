#!/usr/bin/env bash
# Many answers at once, beside llama.cpp, in turn: batch.sh [FORMAT…]
#
# SmolLM2-135M-Instruct in each FORMAT (Q8_0 Q4_0), SEQUENCES ("8 16") sequences, THREADS ("2 1") threads: ROUNDS (5)
# rounds of `luban bench batch` and the same in llama.cpp. Lines go to results/batch.jsonl, tables follow; ends with 0
# when the bars hold at two threads. Stops at once unless llama.cpp was built for this CPU's AVX-512 VNNI and BF16.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
python=$here/.venv-peers/bin/python
formats=("$@")
[ $# -gt 0 ] || formats=(Q8_0 Q4_0)

"$here/setup_peers.sh"
mkdir -p "$here/results"
results=$here/results/batch.jsonl
: >"$results"
for round in $(seq "${ROUNDS:-5}"); do
    for format in "${formats[@]}"; do
        file=$here/.models/smollm2/$format.gguf
        for sequences in ${SEQUENCES:-8 16}; do
            echo "round $round of ${ROUNDS:-5}: $format, $sequences sequences" >&2
            for threads in ${THREADS:-2 1}; do
                options=(--sequences "$sequences" --threads "$threads")
                "$luban" bench batch "$file" "${options[@]}" --json |
                    sed "s/^{/{\"format\":\"$format\",/" >>"$results"
                "$python" "$here/llamacpp_speed.py" batch "$file" "${options[@]}" >>"$results"
            done
        done
    done
done
"$python" "$here/inference_ratios.py" batch "$results"
