#!/usr/bin/env bash
# Are the answers from GGUF files those that the files' weights give? quality.sh [FORMAT…]
#
# SmolLM2-135M-Instruct in each FORMAT (Q8_0 Q4_0 Q4_1 Q4_K_M BF16): divergence from the exact forward on the same
# weights, and perplexity on WikiText-2's test text under DATA (../shared/data), luban's beside llama.cpp's. One JSON line
# a format, to results/quality.jsonl too; ends with 0 when luban adds at most 0.001 to llama.cpp's divergence a token and
# the perplexities agree within 0.5 %, for every format.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$here/.venv-peers/bin/python
text=${DATA:-$here/../../shared/data}/text/wikitext-2/test.txt
formats=("$@")
[ $# -gt 0 ] || formats=(Q8_0 Q4_0 Q4_1 Q4_K_M BF16)
[ -f "$text" ] || { echo "quality.sh: no text at $text; DATA=path names the data" >&2 && exit 2; }

"$here/setup_peers.sh"
mkdir -p "$here/results"
results=$here/results/quality.jsonl
: >"$results"
failed=0
for format in "${formats[@]}"; do
    "$python" "$here/llamacpp_quality.py" "$here/.models/smollm2/$format.gguf" --text "$text" \
        --threads "${THREADS:-2}" | tee --append "$results" || failed=1
done
exit $failed
