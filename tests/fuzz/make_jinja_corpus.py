#!/usr/bin/env python3
"""Writes the seed corpus of the template fuzz target from the cases of the golden test:
tests/data/fuzz/jinja/seed_*. Run from the repository root; the files are committed."""
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, "tests/data/tokenizer")
from jinja_cases import EXPRESSIONS, STATEMENTS, TEMPLATES  # noqa: E402

OUT = pathlib.Path("tests/data/fuzz/jinja")
OUT.mkdir(parents=True, exist_ok=True)
for name, template in TEMPLATES.items():
    (OUT / f"seed_template_{name}").write_text(template)
for name, cases in (("expressions", EXPRESSIONS), ("statements", STATEMENTS)):
    for i in range(0, len(cases), 40):
        (OUT / f"seed_{name}_{i // 40:02}").write_text("\n".join(t for t, _ in cases[i:i + 40]))
    # One at a time too: a group ends at its first error.
    for i in range(0, len(cases), 29):
        (OUT / f"seed_{name}_one_{i:03}").write_text(cases[i][0])
