#!/usr/bin/env bash
# One model for both objectives beside one for each: objectives.sh [OUT]
#
# Trains models of one size on the same tokens, as many steps each, that differ in the objective only, and prints for
# each a JSON line with its losses on the corpus's validation text: of the next token, of hidden tokens, and of middles.
# RUNS (causal masked both) names them: causal; masked, the same decoder with every sequence masked; both, half of the
# sequences masked; both-quarter, a quarter; encoder, --objective masked; fim; both-fim. What is there already in OUT
# is not made again, so that a stopped command goes on.
#
# CORPUS (a corpus artifact; built from DATA or from the sources of this project's dependencies where there is none),
# VOCAB (2048), WIDTH (192), LAYERS (6), CONTEXT (256), BATCH (2048), STEPS (1500), PRECISION (as the machine has it),
# SEED (0), THREADS (2) and NICE (0) may be set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/results/objectives}
luban=${LUBAN:-$here/../target/release/luban}
run=(nice -n "${NICE:-0}" "$luban" --threads "${THREADS:-2}")
mkdir -p "$out"

corpus=${CORPUS:-$out/corpus}
if [ -z "${CORPUS:-}" ]; then
    if [ -n "${DATA:-}" ]; then source=(--data "$DATA"); else source=(--cargo "$here/.."); fi
    "${run[@]}" data build "${source[@]}" --out "$corpus" >&2
fi
"${run[@]}" tokenizer train --corpus "$corpus" --vocab-size "${VOCAB:-2048}" --mask-token --fim-tokens \
    --out "$out/tokenizer" >&2
for name in ${RUNS:-causal masked both}; do
    case $name in
    causal) objective=(causal) ;;
    masked) objective=(both --masked-share 1) ;;
    both) objective=(both) ;;
    both-quarter) objective=(both --masked-share 0.25) ;;
    encoder) objective=(masked) ;;
    fim) objective=(fim) ;;
    both-fim) objective=(both --fim-rate 0.5) ;;
    *) echo "objectives.sh: no run is called $name" >&2 && exit 2 ;;
    esac
    model=$out/$name-${SEED:-0}
    load=$(cut -d' ' -f1 /proc/loadavg)
    "${run[@]}" pretrain --corpus "$corpus" --tokenizer "$out/tokenizer" --objective "${objective[@]}" \
        --width "${WIDTH:-192}" --layers "${LAYERS:-6}" --context "${CONTEXT:-256}" --batch "${BATCH:-2048}" \
        --steps "${STEPS:-1500}" --seed "${SEED:-0}" ${PRECISION:+--precision "$PRECISION"} --out "$model" >&2
    "${run[@]}" --json eval masked "$model" --data "$corpus" >"$model.masked.json"
    python3 "$here/objectives.py" "$name" "$model" "$load"
done
