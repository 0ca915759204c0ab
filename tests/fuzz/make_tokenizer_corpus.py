#!/usr/bin/env python3
"""Writes the corpora of the targets tokenizer_json, sentencepiece_model and sentencepiece_encode.

Small valid files and broken ones, for libFuzzer to begin with. Run from the repository root.
"""
import json
import pathlib
import struct

ROOT = pathlib.Path("tests/data/fuzz")


def put(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def blob(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field, value):
    return varint(field << 3) + varint(value)


def piece(text, score, kind=1):
    return blob(1, blob(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))


BYTE_LEVEL = {"added_tokens": [{"id": 4, "content": "<s>", "special": True, "rstrip": True}],
              "normalizer": {"type": "NFC"},
              "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
              "post_processor": {"type": "TemplateProcessing", "single": [
                  {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},
              "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]}}
LLAMA = {"normalizer": {"type": "Sequence", "normalizers": [
             {"type": "Prepend", "prepend": "▁"},
             {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
         "model": {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>",
                   "vocab": {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3, "<0x41>": 4}, "merges": [["▁", "a"]]}}
UNIGRAM = {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
           "normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhAA=="},
           "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["▁", -1.5], ["a", -2]]}}
for name, value in (("byte_level", BYTE_LEVEL), ("llama", LLAMA), ("unigram", UNIGRAM)):
    text = json.dumps(value, ensure_ascii=False)
    put("tokenizer_json", name, text)
    put("tokenizer_json", name + "_cut", text[:len(text) // 2])
put("tokenizer_json", "empty_object", "{}")
put("tokenizer_json", "huge_id", json.dumps(BYTE_LEVEL).replace('"id": 4', '"id": 4194303'))
put("tokenizer_json", "hole", json.dumps(BYTE_LEVEL).replace('"id": 4', '"id": 40'))
put("tokenizer_json", "deep", '{"model": ' + "[" * 100 + "]" * 100 + "}")

pieces = (piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("▁", -1) + piece("a", -2) +
          piece("▁a", -0.5) + piece("<x>", 0, 4) + piece("aa", -3, 5) + piece("<0x41>", 0, 6))
for name, kind in (("unigram", 1), ("bpe", 2)):
    model = pieces + blob(2, number(3, kind) + number(40, 0)) + blob(3, number(3, 1) + number(4, 0))
    put("sentencepiece_model", name, model)
    put("sentencepiece_model", name + "_cut", model[:-5])
charsmap = struct.pack("<I", 8) + struct.pack("<II", 0x400, 0x80000000) + b"x\0"
put("sentencepiece_model", "charsmap", pieces + blob(3, blob(2, charsmap)))
put("sentencepiece_model", "word_model", pieces + blob(2, number(3, 3)))
put("sentencepiece_model", "long_length", b"\x0a\xff\xff\xff\xff\x0f")
put("sentencepiece_model", "long_number", b"\xff" * 11)
put("sentencepiece_model", "empty", b"")

for name, text in (("spaces", "  a   a aa  "), ("mixed", "ab<user>abab<s>日本🤖é x"), ("broken", b"a\xe2\x96a\xff\x81 "),
                   ("escaped", "▁a▁▁a"), ("only_user", "<user><user> "), ("run", "a" * 200), ("emoji", "🤖" * 40),
                   ("empty", "")):
    put("sentencepiece_encode", name, text)
