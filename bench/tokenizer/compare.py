#!/usr/bin/env python3
"""Weft's tokenizer beside Hugging Face's `tokenizers`, one thread each, on this repository's text.

  bench/tokenizer/compare.py MODEL.gguf BENCH_BINARY [seconds]

Both encode the same files with the same vocabulary; the numbers of tokens must agree. Needs:
pip install tokenizers gguf.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gguf  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

model, binary = sys.argv[1:3]
seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5.0
files = sorted(str(p) for folder in ("libs", "docs", "tests/unit", "services")
               for p in pathlib.Path(folder).rglob("*")
               if p.suffix in (".cc", ".h", ".md", ".py") and p.is_file())
texts = [pathlib.Path(f).read_text(encoding="utf-8") for f in files]
size = sum(len(t.encode()) for t in texts)

fields = gguf.GGUFReader(model).fields
vocab = {t: i for i, t in enumerate(fields["tokenizer.ggml.tokens"].contents())}
merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
reference = Tokenizer(models.BPE(vocab, merges))
reference.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])

begin, rounds, tokens = time.perf_counter(), 0, 0
while True:
    tokens = sum(len(reference.encode(t, add_special_tokens=False).ids) for t in texts)
    rounds += 1
    took = time.perf_counter() - begin
    if took >= seconds:
        break
ours = json.loads(subprocess.run([binary, model, str(seconds), *files], check=True,
                                 capture_output=True, text=True).stdout)
assert ours["tokens"] == tokens, (ours["tokens"], tokens)
theirs = size * rounds / took / 1e6
print(json.dumps({"files": len(files), "bytes": size, "tokens": tokens, "weft_mb_s": ours["mb_s"],
                  "hf_tokenizers_mb_s": round(theirs, 2), "ratio": round(ours["mb_s"] / theirs, 1)}))
