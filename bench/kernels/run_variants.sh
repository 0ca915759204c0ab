#!/usr/bin/env bash
# Kernels that lost beside the ones in use: rates and ratios as JSON.
exec "${WEFT_BIN_DIR:-build/bench/bin}/kernel_variants" "$@"
