#!/usr/bin/env python3
"""Writes the seed corpora of the GGUF fuzz targets: tests/data/fuzz/gguf{,_split}/seed_*.

Small files that together use every value type, nesting, several tensors and both versions.
Run from the repository root; the files are committed.
"""
import pathlib
import struct

OUT = pathlib.Path("tests/data/fuzz/gguf")


def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def entry(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def array(element, items):
    return struct.pack("<IQ", element, len(items)) + b"".join(items)


def file(entries, tensors=(), version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    offset, infos, blobs = 0, b"", []
    for name, kind, dims, data in tensors:
        infos += text(name) + struct.pack("<I", len(dims))
        infos += b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)
        blobs.append(data + bytes(-len(data) % alignment))
        offset += len(blobs[-1])
    head += infos
    if tensors:
        head += bytes(-len(head) % alignment) + b"".join(blobs)
    return head


SCALARS = [
    entry("a.u8", 0, struct.pack("<B", 200)), entry("a.i8", 1, struct.pack("<b", -3)),
    entry("a.u16", 2, struct.pack("<H", 65535)), entry("a.i16", 3, struct.pack("<h", -300)),
    entry("a.u32", 4, struct.pack("<I", 7)), entry("a.i32", 5, struct.pack("<i", -7)),
    entry("a.f32", 6, struct.pack("<f", 1e-5)), entry("a.bool", 7, b"\1"),
    entry("a.string", 8, text("llama \u00e9 \n")), entry("a.u64", 10, struct.pack("<Q", 1 << 63)),
    entry("a.i64", 11, struct.pack("<q", -1)), entry("a.f64", 12, struct.pack("<d", 0.1)),
]
ARRAYS = [
    entry("tokenizer.ggml.tokens", 9, array(8, [text("a"), text("bc"), text("")])),
    entry("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", i) for i in (1, 3, 6)])),
    entry("tokenizer.ggml.scores", 9, array(6, [struct.pack("<f", -i) for i in range(3)])),
    entry("flags", 9, array(7, [b"\0", b"\1"])),
    entry("nested", 9, array(9, [array(2, [struct.pack("<H", 9)]), array(8, [text("x")])])),
]
TENSORS = [
    ("token_embd.weight", 8, (32, 2), bytes(68)), ("norm.weight", 0, (3,), struct.pack("<3f", 1, 2, 3)),
    ("blk.0.q.weight", 3, (32, 1), bytes(20)), ("half", 1, (2, 2, 2, 1), bytes(16)),
]

OUT.mkdir(parents=True, exist_ok=True)
SEEDS = {
    "empty_v3": file([]), "empty_v2": file([], version=2), "scalars": file(SCALARS),
    "arrays": file(ARRAYS), "tensors": file(SCALARS[4:6], TENSORS),
    "alignment_64": file([entry("general.alignment", 4, struct.pack("<I", 64))], TENSORS, 3, 64),
    "all_v2": file(SCALARS + ARRAYS, TENSORS, version=2), "not_gguf": b"GGML" + bytes(20),
    "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
}
for name, data in SEEDS.items():
    (OUT / f"seed_{name}").write_bytes(data)


def split_keys(number, count, tensors):
    return [entry("split.no", 2, struct.pack("<H", number)), entry("split.count", 2, struct.pack("<H", count)),
            entry("split.tensors.count", 5, struct.pack("<i", tensors))]


def parts(*files):
    return bytes([len(files)]) + b"".join(struct.pack("<I", len(f)) for f in files) + b"".join(files)


FIRST = file(SCALARS[:3] + split_keys(0, 3, 4), TENSORS[:1])
SECOND = file(split_keys(1, 3, 4), TENSORS[1:3])
THIRD = file(split_keys(2, 3, 4), TENSORS[3:], alignment=32)
SPLITS = {
    "three": parts(FIRST, SECOND, THIRD), "two_of_three": parts(FIRST, SECOND),
    "swapped": parts(FIRST, THIRD, SECOND), "twice": parts(FIRST, SECOND, SECOND),
    "not_split": parts(SEEDS["tensors"]), "none": parts(),
    "huge_count": parts(file(split_keys(0, 65535, 1), TENSORS[:1])),
    "own_metadata": parts(FIRST, file(ARRAYS + split_keys(1, 3, 4), TENSORS[1:3]), THIRD),
}
SPLIT_OUT = OUT.with_name("gguf_split")
SPLIT_OUT.mkdir(parents=True, exist_ok=True)
for name, data in SPLITS.items():
    (SPLIT_OUT / f"seed_{name}").write_bytes(data)
