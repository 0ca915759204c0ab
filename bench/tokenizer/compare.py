#!/usr/bin/env python3
"""Weft's tokenizer beside Hugging Face's `tokenizers`, one thread each, on this repository's text.

  bench/tokenizer/compare.py MODEL.gguf BENCH_BINARY [seconds] [rounds]

Both encode the same files with the same vocabulary, in turns; the numbers of tokens must agree. Then
Weft alone encodes texts of 1 MB that have no place to be cut. Byte-level BPE has the vocabulary of the
model, SentencePiece BPE the one of tests/data/tokenizer/differential/hf-llama-prepend, which is small.
Prints JSON. Needs: pip install tokenizers gguf.
"""
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gguf  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

model, binary = sys.argv[1:3]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 2.0
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
SPM = "tests/data/tokenizer/differential/hf-llama-prepend"
files = sorted(str(p) for folder in ("libs", "docs", "tests/unit", "services")
               for p in pathlib.Path(folder).rglob("*")
               if p.suffix in (".cc", ".h", ".md", ".py") and p.is_file())
texts = [pathlib.Path(f).read_text(encoding="utf-8") for f in files]
size = sum(len(t.encode()) for t in texts)


def byte_level():
    fields = gguf.GGUFReader(model).fields
    vocab = {t: i for i, t in enumerate(fields["tokenizer.ggml.tokens"].contents())}
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    reference = Tokenizer(models.BPE(vocab, merges))
    reference.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return reference


def sentencepiece():
    reference = Tokenizer.from_file(SPM + "/tokenizer.json")
    reference.encode_special_tokens = True
    return reference


def theirs(reference):
    begin, passes = time.perf_counter(), 0
    while True:
        tokens = sum(len(reference.encode(t).ids) for t in texts)
        passes += 1
        took = time.perf_counter() - begin
        if took >= seconds:
            return size * passes / took / 1e6, tokens


def ours(path, limit, names):
    return json.loads(subprocess.run([binary, path, str(limit), *names], check=True, capture_output=True,
                                     text=True).stdout)


def spread(values):
    return {"median": round(statistics.median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}


out = {"files": len(files), "bytes": size, "rounds": rounds}
with tempfile.TemporaryDirectory() as folder:
    rng = random.Random(1)
    longs = {"one character": "a" * 1_000_000, "one emoji": "\U0001f916" * 250_000, "spaces": " " * 1_000_000,
             "one identifier": "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(1_000_000))}
    for name, text in longs.items():
        pathlib.Path(folder, name).write_text(text)
    for kind, path, reference in (("byte_level", model, byte_level()), ("sentencepiece", SPM, sentencepiece())):
        rows = []
        for _ in range(rounds):
            speed, tokens = theirs(reference)
            answer = ours(path, seconds, files)
            assert answer["tokens"] == tokens, (kind, answer["tokens"], tokens)
            rows.append((answer["mb_s"], speed))
        out[kind] = {"tokens": tokens, "weft_mb_s": spread([a for a, _ in rows]),
                     "hf_tokenizers_mb_s": spread([b for _, b in rows]), "ratio": spread([a / b for a, b in rows]),
                     "ms_for_1_mb": {name: round(1e3 / ours(path, 0.3, [str(pathlib.Path(folder, name))])["mb_s"])
                                     for name in longs}}
print(json.dumps(out, indent=1))
