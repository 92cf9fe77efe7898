#!/usr/bin/env bash
# The quickstart against PyTorch, in one sitting: quickstart.sh MINUTES [OUT]
#
# Runs `luban quickstart --minutes MINUTES --no-serve`, then pre-trains the same model with PyTorch on the same
# corpus, tokenizer, settings and minutes, and prints one JSON line with both figures and their ratio
# (bits per byte of luban over those of PyTorch: below 1 luban is better). OUT is emptied first.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
minutes=${1:?usage: quickstart.sh MINUTES [OUT]}
out=${2:-$here/results/quickstart-$minutes}
luban=${LUBAN:-$here/../target/release/luban}
threads=${THREADS:-2}

"$here/setup.sh"
rm -rf "$out" "$out.checkpoints"
mkdir -p "$(dirname "$out")"
"$luban" quickstart --minutes "$minutes" --no-serve --threads "$threads" --out "$out" >&2
ours=$("$luban" eval perplexity "$out/model" --data "$out/corpus" --json)
int8=$("$luban" eval perplexity "$out/model-int8" --data "$out/corpus" --json)
torch=$("$here/.venv/bin/python" "$here/quickstart_torch.py" "$out" --minutes "$minutes" --threads "$threads")

"$here/.venv/bin/python" - "$minutes" "$out" "$ours" "$int8" "$torch" <<'PYTHON'
import json, sys
from pathlib import Path

minutes, out = float(sys.argv[1]), Path(sys.argv[2])
ours, int8, torch = map(json.loads, sys.argv[3:])
metrics = json.loads((out / "model/luban.json").read_text())["metrics"]
size = {name: sum(file.stat().st_size for file in (out / name).iterdir()) for name in ("model", "model-int8")}
print(json.dumps({
    "bench": "quickstart",
    "minutes": minutes,
    "bits_per_byte_luban": ours["bits_per_byte"],
    "bits_per_byte_torch": torch["bits_per_byte"],
    "ratio": ours["bits_per_byte"] / torch["bits_per_byte"],
    "luban": {name: metrics[name] for name in ("parameters", "steps", "tokens", "seconds", "tokens_per_second")},
    "torch": torch,
    "int8_times_smaller": size["model"] / size["model-int8"],
    "int8_perplexity_ratio": int8["perplexity"] / ours["perplexity"],
}))
PYTHON
