#!/usr/bin/env bash
# Does a model in a GGUF file answer the same on lesser CPUs? isa_logits.sh [FORMAT…]
#
# SmolLM2-135M-Instruct in each FORMAT (Q8_0 Q4_0 Q4_1 Q4_K_M BF16) with LUBAN_CPU=avx2, scalar and nothing forced: the
# logits of 2,000 tokens of WikiText-2's test text under DATA (../shared/data). One JSON line each: mean divergence a
# token from the unforced run, the share of tokens with the same likeliest successor, and whether all bits are the same.
# ISAS ("avx2 scalar") and TOKENS (2000) may be set. Ends with 0 when the divergence is at most 1e-4 and the share at
# least 0.99.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
text=${DATA:-$here/../../shared/data}/text/wikitext-2/test.txt
formats=("$@")
[ $# -gt 0 ] || formats=(Q8_0 Q4_0 Q4_1 Q4_K_M BF16)
[ -f "$text" ] || { echo "isa_logits.sh: no text at $text; DATA=path names the data" >&2 && exit 2; }

"$here/setup_peers.sh"
failed=0
for format in "${formats[@]}"; do
    "$here/.venv-peers/bin/python" "$here/isa_logits.py" "$here/.models/smollm2/$format.gguf" --text "$text" \
        --isas "${ISAS:-avx2 scalar}" --tokens "${TOKENS:-2000}" --threads "${THREADS:-2}" || failed=1
done
exit $failed
