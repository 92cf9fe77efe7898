#!/usr/bin/env bash
# What guessing tokens ahead gains on answers that repeat their prompt: speculation.sh [FILE…]
#
# SmolLM2-135M-Instruct in Q8_0, Q4_0, Q4_1, Q4_K_M and BF16 unless FILEs are given, THREADS (2) threads: `luban bench
# speculation`, which answers with and without guesses in turn, REPETITIONS (5) times, for the correction of a piece of
# code and for quotations from a text. One JSON line for each file and task; ends with 0 when every answer is the same with
# and without guesses, and looking up gives 1.8 times the tokens a second for one of the tasks of each file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
files=("$@")
if [ $# -eq 0 ]; then
    "$here/setup_peers.sh"
    for format in Q8_0 Q4_0 Q4_1 Q4_K_M BF16; do
        files+=("$here/.models/smollm2/$format.gguf")
    done
fi
exec python3 "$here/speculation.py" --repetitions "${REPETITIONS:-5}" --threads "${THREADS:-2}" "${files[@]}"
