#!/usr/bin/env bash
# Weft's tokenizer beside Hugging Face's, one thread each, on this repository's text.
set -eu
venv=${WEFT_HOME:-.weft}/bench-tokenizer-venv
if [[ ! -x $venv/bin/python ]]; then
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet tokenizers gguf
fi
exec "$venv/bin/python" bench/tokenizer/compare.py "$WEFT_MODEL" \
  "${WEFT_BIN_DIR:-build/bench/bin}/bench-tokenizer" 2 5
