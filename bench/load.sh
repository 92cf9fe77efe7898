#!/usr/bin/env bash
# From a process that just began to the first token: load.sh [FILE…]
#
# SmolLM2-135M-Instruct as packaged (98 MB, Q4_1) unless FILEs are given: ROUNDS (5) runs of `luban bench load` in
# processes of their own, after one that brings the file into the system's memory. One JSON line a file with the median
# time to the first token, as the process tells and from outside (the whole process, its end included), and the resident
# memory beside 1.1 times weights and cache and 64 MiB. Ends with 0 when both bars hold for the first file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
files=("$@")
if [ $# -eq 0 ]; then
    "$here/setup_peers.sh"
    files=("$here/.models/smollm2/Q4_1.gguf")
fi
exec python3 "$here/load.py" --rounds "${ROUNDS:-5}" --threads "${THREADS:-2}" "${files[@]}"
