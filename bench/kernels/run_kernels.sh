#!/usr/bin/env bash
# Single kernels (matmul per weight type, attention, rows) on every instruction set of this machine.
exec "${WEFT_BIN_DIR:-build/bench/bin}/kernel_bench" isa=all "$@"
