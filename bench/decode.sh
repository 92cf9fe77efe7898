#!/usr/bin/env bash
# Reading prompts and writing answers, beside llama.cpp, in turn: decode.sh [FORMAT…]
#
# SmolLM2-135M-Instruct in each FORMAT (Q8_0 Q4_0 Q4_1 Q4_K_M BF16), with THREADS ("2 1") threads: ROUNDS (5) rounds of
# `luban bench decode` and the same in llama.cpp. Every run's JSON line goes to results/decode.jsonl; the tables at the
# end give medians and ratios (above 1 luban is faster), and the share of the memory bandwidth that `luban bench decode`
# measures beside. Ends with 0 when the bars hold at two threads. LUBAN=path takes another binary. Stops at once unless
# llama.cpp was built for this CPU's AVX-512 VNNI and BF16.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
python=$here/.venv-peers/bin/python
formats=("$@")
[ $# -gt 0 ] || formats=(Q8_0 Q4_0 Q4_1 Q4_K_M BF16)

"$here/setup_peers.sh"
mkdir -p "$here/results"
results=$here/results/decode.jsonl
: >"$results"
for round in $(seq "${ROUNDS:-5}"); do
    for format in "${formats[@]}"; do
        echo "round $round of ${ROUNDS:-5}: $format" >&2
        file=$here/.models/smollm2/$format.gguf
        for threads in ${THREADS:-2 1}; do
            "$luban" bench decode "$file" --threads "$threads" --json |
                sed "s/^{/{\"format\":\"$format\",/" >>"$results"
            "$python" "$here/llamacpp_speed.py" decode "$file" --threads "$threads" >>"$results"
        done
    done
done
"$python" "$here/inference_ratios.py" decode "$results"
