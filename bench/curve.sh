#!/usr/bin/env bash
# Does luban's training compute what PyTorch's computes? curve.sh [OPTION…]: see curve.py --help
#
# The losses of 200 steps in f32 from the same weights on the same data, at each step within 1e-3. LUBAN=path takes
# another binary than the release build.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh"
exec "$here/.venv/bin/python" "$here/curve.py" "$@"
