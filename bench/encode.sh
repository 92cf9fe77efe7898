#!/usr/bin/env bash
# Sentence embeddings in int8, beside OpenVINO and ONNX Runtime, in turn: encode.sh
#
# all-MiniLM-L6-v2. First the 3,080 test questions of BANKING77 under DATA (../shared/data), from characters to vectors,
# in the order of the file and the shortest first: the peers at each of BATCHES (8,16,32,64), of which the best counts.
# Then random sentences of one length, batches of 1, 8 and 32 by 16, 64 and 128 tokens. ROUNDS (5) rounds with two
# threads, in which from the second on only the fastest peer of the first is run, at its best size of batch; then one
# round with one thread. Lines go to results/encode.jsonl, tables follow; ends with 0 when the bars hold at two
# threads. Stops at once unless the CPU and OpenVINO report AVX-512 VNNI and BF16.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
python=$here/.venv-peers/bin/python
data=${DATA:-$here/../../shared/data}
texts=$data/classify/banking77/test.csv
model=$here/.models/minilm
[ -f "$texts" ] || { echo "encode.sh: no sentences at $texts; DATA=path names the data" >&2 && exit 2; }

"$here/setup_peers.sh"
mkdir -p "$here/results"
results=$here/results/encode.jsonl
: >"$results"

peers() { # THREADS, RUNTIMES, OPTIONS…
    local threads=$1 runtime
    for runtime in $2; do
        "$python" "$here/encode_peers.py" "$runtime" "$model" --threads "$threads" \
            --calibrate "$data/classify/banking77/train.csv" "${@:3}" >>"$results"
    done
}

round() { # THREADS, all or fastest
    for order in file sorted; do
        local sorted=()
        [ "$order" = file ] || sorted=(--sorted)
        for precision in int8 bf16 f32; do
            "$luban" bench encode "$model" --texts "$texts" --precision "$precision" "${sorted[@]}" --threads "$1" \
                --json >>"$results"
        done
        local runtimes="openvino onnxruntime" batches=${BATCHES:-8,16,32,64}
        [ "$2" = all ] || read -r runtimes batches < <("$python" "$here/inference_ratios.py" fastest "$results" "$order")
        peers "$1" "$runtimes" --texts "$texts" --orders "$order" --batches "$batches"
    done
    for batch in 1 8 32; do
        for length in 16 64 128; do
            "$luban" bench encode "$model" --precision int8 --batch "$batch" --length "$length" --threads "$1" --json \
                >>"$results"
        done
    done
    [ "$2" = all ] && runtimes="openvino onnxruntime"
    peers "$1" "$runtimes" --grid
}

for number in $(seq "${ROUNDS:-5}"); do
    echo "round $number of ${ROUNDS:-5}" >&2
    round 2 "$([ "$number" = 1 ] && echo all || echo fastest)"
done
echo "one thread" >&2
round 1 all
"$python" "$here/inference_ratios.py" encode "$results"
