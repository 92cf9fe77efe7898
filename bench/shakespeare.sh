#!/usr/bin/env bash
# Character-level tiny Shakespeare with nanoGPT's configuration: shakespeare.sh [OUT]
#
# Trains 6 layers of width 384 with 6 heads and a context of 256, dropout 0.2, with Muon, on the first nine tenths of
# the text, and prints one JSON line: the loss on the last tenth in nats a character, the tokens and the time that the
# run took, and the time that PyTorch would need for the same tokens at the speed of its faster mode, measured right after.
# Stopped at any moment, the same command goes on from the last checkpoint. TEXT, STEPS (1500), THREADS (2), ROUNDS (3,
# of measuring speed) and NICE (0) may be set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/results/shakespeare}
text=${TEXT:-$here/../../shared/data/text/tinyshakespeare.txt}
luban=${LUBAN:-$here/../target/release/luban}
threads=${THREADS:-2}
steps=${STEPS:-1500}
rounds=${ROUNDS:-3}
run=(nice -n "${NICE:-0}" "$luban")

"$here/setup.sh"
mkdir -p "$out"
if [ ! -e "$out/valid.txt" ]; then
    bytes=$(wc -c <"$text")
    train=$((bytes * 9 / 10))
    head -c "$train" "$text" >"$out/train.txt"
    tail -c +$((train + 1)) "$text" >"$out/valid.new"
    mv "$out/valid.new" "$out/valid.txt"
fi
cat >"$out/config.json" <<'JSON'
{
  "model_type": "gpt2", "vocab_size": 67, "n_embd": 384, "n_layer": 6, "n_head": 6, "n_positions": 256,
  "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5
}
JSON

"${run[@]}" data build --data "$out/train.txt" --valid "$out/valid.txt" --keep-all --out "$out/corpus" >&2
"${run[@]}" tokenizer train --kind characters --corpus "$out/corpus" --out "$out/tokenizer" >&2
settings=(--corpus "$out/corpus" --tokenizer "$out/tokenizer" --config "$out/config.json" --dropout 0.2 --batch 8192
    --optimizer muon --learning-rate 1e-3 --beta2 0.99 --warmup 100 --precision bf16 --seed 1337 --threads "$threads")
"${run[@]}" pretrain "${settings[@]}" --steps "$steps" --keep best --checkpoint-every 50 --out "$out/model" >&2

"$here/.venv/bin/python" "$here/shakespeare.py" "$out" --rounds "$rounds" --threads "$threads" -- "${settings[@]}"
