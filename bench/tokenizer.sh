#!/usr/bin/env bash
# Encoding by luban and by Hugging Face's tokenizers: tokenizer.sh TEXT... [TABLE.csv]
#
# GPT2=DIR names the folder with GPT-2's encoder.json and vocab.bpe; MINILM=FILE a tokenizer.json of MiniLM (or of
# another BERT), which encodes each text of the table, with the special tokens around it. On one thread and on two, each
# tokenizer on each text by both in turn; ends with an error where the ids differ. MEGABYTES (4) of each text are used.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
luban=${LUBAN:-$here/../target/release/luban}
gpt2=${GPT2:?the folder with encoder.json and vocab.bpe}
megabytes=${MEGABYTES:-4}

"$here/setup.sh"
out=$here/results/tokenizer
python=$here/.venv/bin/python
rm -rf "$out"
mkdir -p "$out"
"$python" "$here/tokenizer_hf.py" make "$out" --gpt2 "$gpt2" ${MINILM:+--minilm "$MINILM"}
: >"$out/results.jsonl"

both() {
    local name=$1 text=$2
    shift 2
    for threads in 1 2; do
        for side in luban hf; do
            case $side in
            luban) "$luban" bench tokenizer "$text" --tokenizer "$out/$name.json" --threads $threads --json "$@" ;;
            hf) "$python" "$here/tokenizer_hf.py" measure "$text" --tokenizer "$out/$name.json" --threads $threads "$@" ;;
            esac | sed "s/^{/{\"tokenizer\": \"$name\", /" >>"$out/results.jsonl"
        done
    done
}

for text in "$@"; do
    case $text in
    *.csv)
        lines=$out/$(basename "$text" .csv).txt
        "$python" "$here/tokenizer_hf.py" lines "$text" >"$lines"
        [ -e "$out/minilm.json" ] && both minilm "$lines" --lines
        both gpt2 "$lines" --lines
        ;;
    *) for name in gpt2 digits llama3 qwen2; do both $name "$text" --megabytes "$megabytes"; done ;;
    esac
done
"$python" "$here/tokenizer_ratios.py" "$out/results.jsonl"
