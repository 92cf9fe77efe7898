#!/usr/bin/env bash
# Makes bench/.venv with the pinned packages of requirements.txt. Does nothing when it is already so.
#
# PYTHON=python3.12 bench/setup.sh picks another interpreter. PyTorch brings its CUDA libraries along: 6 GB of disk.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3}
stamp=.venv/requirements.installed

if cmp --silent requirements.txt "$stamp"; then
    echo "bench/.venv is up to date" >&2
    exit 0
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt >&2
cp requirements.txt "$stamp"
echo "bench/.venv is ready" >&2
