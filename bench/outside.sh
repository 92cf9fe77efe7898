#!/usr/bin/env bash
# What other programs say of luban's work: outside.sh [OUT]
#
# Without OUT, trains a small model first (MINUTES, 0.5). Then: transformers loads it and gives the same logits and
# the same bits per byte; the small models of each family agree; the official `openai` client talks to it; its page
# completes what is typed, where Chromium is installed; MiniLM agrees, where LUBAN_TEXTS names a CSV file with a
# column `text`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
python=$here/.venv/bin/python
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

out=${1:-}
if [ -z "$out" ]; then
    out=$folder/quickstart
    "$luban" quickstart --minutes "${MINUTES:-0.5}" --no-serve --out "$out" >&2
fi
"$python" "$here/transformers_logits.py" --vectors
"$python" "$here/transformers_logits.py" "$out/model" --corpus "$out/corpus"
"$python" "$here/perplexity_transformers.py" "$out/model" --corpus "$out/corpus"
"$python" "$here/openai_client.py" --serve "$out/model-int8"
if command -v chromium chromium-browser google-chrome >/dev/null; then
    "$python" "$here/browser.py" --serve "$out/model-int8"
else
    echo "SKIPPED: the page, no Chromium is installed" >&2
fi
texts=${LUBAN_TEXTS:-$here/../../shared/data/classify/banking77/test.csv}
if [ -f "$texts" ]; then
    minilm=$("$luban" pull minilm-l6-v2 --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["dir"])')
    "$python" "$here/minilm.py" "$minilm" --texts "$texts"
else
    echo "SKIPPED: MiniLM, no sentences at $texts" >&2
fi
