#!/usr/bin/env python3
"""Writes the seed corpus of the safetensors fuzz target: tests/data/fuzz/safetensors/seed_*.

Run from the repository root; the files are committed.
"""
import json
import pathlib
import struct

OUT = pathlib.Path("tests/data/fuzz/safetensors")


def file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


W = "model.layers.0.self_attn.q_proj.weight"
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1, "U8": 1, "I8": 1,
         "I16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8}


def every_type():
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in SIZES.items():
        header[name.lower()] = tensor(name, [1, 2], at, at + 2 * size)
        at += 2 * size
    return file(header, bytes(at))


SEEDS = {
    "empty": file({}),
    "one": file({W: tensor("F32", [2, 2], 0, 16)}, bytes(16)),
    "fp8": file({W: tensor("F8_E4M3", [2, 2], 0, 4), W + "_scale": tensor("F32", [], 4, 8)}, bytes(8)),
    "every_type": every_type(),
    "padded": file(json.dumps({"a": tensor("U8", [0], 0, 0)}).encode() + b"    "),
    "hole": file({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 3, 5)}, bytes(5)),
    "overlap": file({"a": tensor("U8", [2], 0, 2), "b": tensor("U8", [2], 1, 3)}, bytes(3)),
    "beyond": file({"a": tensor("U8", [9], 0, 9)}, bytes(3)),
    "huge_shape": file({"a": tensor("F32", [2**40, 2**40], 0, 0)}),
    "negative": file({"a": tensor("F32", [-1], 0, 0)}),
    "twice": file(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
    "deep": file(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"),
    "long_header": struct.pack("<Q", 2**63) + b"{}",
    "index": json.dumps({"metadata": {"total_size": 1}, "weight_map": {"a": "m-1.safetensors"}}).encode(),
    "index_escape": json.dumps({"weight_map": {"a": "../../x.safetensors"}}).encode(),
}

OUT.mkdir(parents=True, exist_ok=True)
for name, data in SEEDS.items():
    (OUT / f"seed_{name}").write_bytes(data)
