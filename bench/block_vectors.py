"""Blocks of random bytes in every format of GGUF files, and what the `gguf` package makes of them.

    pip install gguf==0.19.0
    python bench/block_vectors.py > crates/kernels/tests/vectors/blocks.txt

A line has the format's name, a block's bytes in hexadecimal, and the bits of its numbers.
"""

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

FORMATS = "F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ4_NL IQ4_XS"
# Where half-precision scales stand: random ones could be infinite.
SCALES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
}


def block(name: str, random: np.random.Generator) -> np.ndarray:
    length, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    if name == "F16":
        return random.normal(size=1).astype(np.float16).view(np.uint8)
    data = random.integers(0, 256, size, dtype=np.uint8)
    for at in SCALES.get(name, []):
        data[at : at + 2] = random.normal(scale=0.1, size=1).astype(np.float16).view(np.uint8)
    if name == "Q8_K":
        data[:4] = random.normal(scale=0.1, size=1).astype(np.float32).view(np.uint8)
    return data


def numbers(name: str, data: np.ndarray) -> np.ndarray:
    if name == "Q8_K":
        return data[:4].view(np.float32) * data[4:260].view(np.int8).astype(np.float32)
    return quants.dequantize(data, GGMLQuantizationType[name]).astype(np.float32)


def main() -> None:
    random = np.random.default_rng(4)
    for name in FORMATS.split():
        for _ in range(1 if name in ("F16", "BF16") else 2):
            data = block(name, random)
            bits = " ".join(f"{bits:08x}" for bits in numbers(name, data).view(np.uint32))
            print(name, data.tobytes().hex(), bits)


if __name__ == "__main__":
    main()
