#!/usr/bin/env python3
"""Makes dequant/TYPE.bin: blocks of every supported tensor type and what `gguf` makes of them.

    pip install gguf==0.19.0 numpy
    python3 tests/data/golden/make_dequant_goldens.py tests/data/golden/dequant

A file is a count of elements (uint64), the encoded bytes and the values (fp32). The blocks hold
every code, random bits, and scales that are zero, subnormal, the largest, infinite or not a number.
--blocks N adds N random blocks of every type with scales of all magnitudes, --seed S changes them.
"""
import argparse
import pathlib
import struct

import gguf
import numpy as np

# Where the half-precision numbers of a block lie. MXFP4 has an exponent instead.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
# 0, -0, least and most subnormal, least normal, 1, -1, most, -most, infinities, NaN.
EDGES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00,
         0x7E00]


def blocks_of(name, random, extra):
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    ramps = [bytes((step * i + start) % 256 for i in range(size))
             for step, start in ((1, 0), (1, 64), (1, 128), (1, 192), (255, 255), (37, 11), (0, 255))]
    halves = HALVES[name]
    out = []

    def put(body, values):
        block = bytearray(body)
        for at, value in zip(halves, values):
            struct.pack_into("<H", block, at, value)
        out.append(bytes(block))

    for body in ramps:
        put(body, [0x2C66, 0xA8CD])
    if name == "MXFP4":
        for exponent in range(256):
            out.append(bytes([exponent]) + random.bytes(16))
        extra *= 8
    for i, edge in enumerate(EDGES if halves else []):
        put(random.bytes(size), [edge, EDGES[(5 * i + 3) % len(EDGES)]])
    for _ in range(4 + extra):
        put(random.bytes(size), random.integers(0, 0x10000, 2))
    return np.frombuffer(b"".join(out), np.uint8).reshape(len(out), size)


def f8_e4m3(codes):
    """OCP FP8 E4M3 from its definition; `gguf` has no such type."""
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent, mantissa = (codes >> 3 & 15).astype(int), (codes & 7).astype(float)
    value = np.where(exponent == 0, mantissa * 2.0 ** -9, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    value = np.where(codes & 0x7F == 0x7F, np.nan, value)
    return (sign * value).astype(np.float32)


def plain(name, random, extra):
    count = 1024 + 256 * extra
    if name == "F8_E4M3":
        codes = np.concatenate([np.arange(256, dtype=np.uint8), np.frombuffer(random.bytes(count), np.uint8)])
        return codes, f8_e4m3(codes)
    if name == "F32":
        data = np.frombuffer(random.bytes(4 * count), np.uint8)
    else:
        words = np.concatenate([np.array(EDGES, np.uint16), random.integers(0, 0x10000, count, np.uint16)])
        data = words.view(np.uint8)
    return data, gguf.dequantize(data, gguf.GGMLQuantizationType[name])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--blocks", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.seterr(all="ignore")
    random = np.random.default_rng(arguments.seed)
    for name in [*HALVES, "F32", "F16", "BF16", "F8_E4M3"]:
        if name in HALVES:
            data = blocks_of(name, random, arguments.blocks)
            values = gguf.dequantize(data, gguf.GGMLQuantizationType[name])
        else:
            data, values = plain(name, random, arguments.blocks)
        values = np.ascontiguousarray(values, np.float32)
        (arguments.out / f"{name}.bin").write_bytes(
            struct.pack("<Q", values.size) + data.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
