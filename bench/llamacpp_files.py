"""Writes a GGUF file in another number format, with llama.cpp's own quantizer.

    llamacpp_files.py IN.gguf OUT.gguf FORMAT      FORMAT: F32, F16, BF16, Q8_0, Q4_0, Q4_K_M …

What IN has lost already stays lost: files made from a 4-bit one serve for speed, and for comparing programs on the
same values, not for judging formats.
"""

import argparse
import os
import sys
from pathlib import Path

import llama_cpp

from common import note
from llamacpp import be_silent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("format", type=str.upper)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    llama_cpp.llama_log_set(be_silent, None)
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = number_of(args.format)
    params.allow_requantize = True
    params.nthread = args.threads
    unfinished = args.target.with_suffix(".unfinished")
    status = llama_cpp.llama_model_quantize(str(args.source).encode(), str(unfinished).encode(), params)
    if status != 0:
        sys.exit(f"llama.cpp cannot write {args.source} as {args.format}: {status}")
    os.replace(unfinished, args.target)
    note(f"{args.target}: {args.target.stat().st_size / 1e6:.1f} MB")


def number_of(name):
    for family in ("ALL", "MOSTLY"):
        number = getattr(llama_cpp, f"LLAMA_FTYPE_{family}_{name}", None)
        if number is not None:
            return number
    sys.exit(f"llama.cpp knows no format {name}")


if __name__ == "__main__":
    main()
