#!/usr/bin/env python3
"""Makes quantize/TYPE.bin: rows of floats and the blocks that `gguf` makes of them.

    pip install gguf==0.19.0 numpy
    python3 tests/data/golden/make_quantize_goldens.py tests/data/golden/quantize

A file is a count of elements (uint64), the floats (fp32) and their encoding. --rows N adds N random
rows of 256, --seed S changes them.
"""
import argparse
import pathlib
import struct

import gguf
import numpy as np

TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(arguments.seed)
    rows = [
        random.normal(0, 0.05, (2, 256)), random.standard_t(2, (1, 256)),
        random.integers(-4, 5, (1, 256)) * 0.5,  # ties: of the extreme, and between two codes
        np.repeat(random.normal(0, 1, 8), 32)[None],  # constant blocks
        np.zeros((1, 256)), random.uniform(0, 1, (1, 256)), random.normal(0, 1e-4, (1, 256)),
        random.normal(0, 1000, (1, 256)),
        random.normal(0, 1, (arguments.rows, 256)) * 10.0 ** random.uniform(-4, 3, (arguments.rows, 1)),
    ]
    data = np.concatenate(rows).astype(np.float32)
    for name in TYPES:
        encoded = np.ascontiguousarray(gguf.quantize(data, gguf.GGMLQuantizationType[name]))
        (arguments.out / f"{name}.bin").write_bytes(
            struct.pack("<Q", data.size) + data.tobytes() + encoded.tobytes())


if __name__ == "__main__":
    main()
