#!/usr/bin/env bash
# The same steps in every precision: precisions.sh TEXT…
#
# Builds a corpus and a tokenizer from the texts (files or folders), trains STEPS (300) steps of a model of WIDTH (64)
# and LAYERS (2) in each of PRECISIONS (f32 bf16 fp16 fp8 fp8-tensor int8), the first of which is f32, and prints the
# final validation losses and their ratios to that of f32. The curves of the validation loss, ten points each, and the
# outcomes go to results/precisions.jsonl, a line of JSON a precision. BYTES (2000000, of text), VOCAB (1024), BATCH (1024
# tokens) and SEED (0) may be set too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
[ $# -gt 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LUBAN_HOME=$work/home

mkdir "$work/texts"
for text in "$@"; do
    cp -r "$text" "$work/texts/"
done
"$luban" data build --data "$work/texts" --max-bytes "${BYTES:-2000000}" --out "$work/corpus" >&2
"$luban" tokenizer train --corpus "$work/corpus" --vocab-size "${VOCAB:-1024}" --out "$work/tokenizer" >&2
mkdir -p "$here/results"
results=$here/results/precisions.jsonl
: >"$results"
for precision in ${PRECISIONS:-f32 bf16 fp16 fp8 fp8-tensor int8}; do
    "$luban" --json pretrain --corpus "$work/corpus" --tokenizer "$work/tokenizer" --steps "${STEPS:-300}" \
        --width "${WIDTH:-64}" --layers "${LAYERS:-2}" --context 128 --batch "${BATCH:-1024}" --seed "${SEED:-0}" \
        --precision "$precision" --out "$work/$precision" >"$work/out" 2>"$work/events"
    python3 "$here/precisions.py" "$precision" "$work/$precision/luban.json" "$work/events" "$results"
done
