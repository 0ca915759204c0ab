#!/usr/bin/env bash
# The model's forward steps per instruction set: prefill, decode and batches, without the engine.
set -eu
for isa in amx avx512 avx2 scalar; do
  sizes=(prefill=512 decode=128 "batch=1,4,16")
  [[ $isa != scalar ]] || sizes=(prefill=32 decode=8 batch=1)
  # A level that this machine lacks says so and is passed over.
  "${WEFT_BIN_DIR:-build/bench/bin}/model_bench" "$WEFT_MODEL" "isa=$isa" "${sizes[@]}" "$@" || true
done
