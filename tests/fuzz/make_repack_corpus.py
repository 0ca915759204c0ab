#!/usr/bin/env python3
"""Writes the seed corpus of the repack_file fuzz target: tests/data/fuzz/repack_file/seed_*.

Run from the repository root; the files are committed. The target itself puts the key and the
checksum right.
"""
import pathlib
import struct

OUT = pathlib.Path("tests/data/fuzz/repack_file")
F32, F16, Q8_0 = 0, 1, 8
LAYOUT_Q8, LAYOUT_F32, LAYOUT_F16 = 1, 7, 8


def entry(name, kind, rows, cols, layout, offset, size):
    return struct.pack("<H", len(name)) + name + struct.pack("<IqqBQQ", kind, rows, cols, layout, offset, size)


def file(entries, data, count=None, version=1):
    body = b"a" * 64 + struct.pack("<I", len(entries) if count is None else count) + b"".join(entries)
    head = b"WEFTPACK" + struct.pack("<II", version, len(body)) + bytes(64) + body
    return head + bytes(-len(head) % 64) + data


def at(entries):
    size = 80 + 68 + sum(len(e) for e in entries)
    return size + -size % 64


ONE = entry(b"w", F16, 1, 3, LAYOUT_F16, 0, 96)
FIRST = at([ONE])
TWO = [entry(b"w", F16, 1, 3, LAYOUT_F16, 0, 96), entry(b"v", Q8_0, 16, 32, LAYOUT_Q8, 0, 544)]
SECOND = at(TWO)
SEEDS = {
    "empty": file([], b""),
    "one": file([entry(b"w", F16, 1, 3, LAYOUT_F16, FIRST, 96)], bytes(96)),
    "two": file([entry(b"w", F16, 1, 3, LAYOUT_F16, SECOND, 96),
                 entry(b"v", Q8_0, 16, 32, LAYOUT_Q8, SECOND + 128, 544)], bytes(128 + 544)),
    "many": file([], b"", count=2**32 - 1),
    "negative": file([entry(b"w", F16, -1, 3, LAYOUT_F16, FIRST, 96)], bytes(96)),
    "huge": file([entry(b"w", F32, 2**62, 2**62, LAYOUT_F32, FIRST, 2**63)], bytes(96)),
    "beyond": file([entry(b"w", F16, 1, 3, LAYOUT_F16, 2**64 - 64, 96)], bytes(96)),
    "version": file([], b"", version=9),
}

OUT.mkdir(parents=True, exist_ok=True)
for name, data in SEEDS.items():
    (OUT / f"seed_{name}").write_bytes(data)
