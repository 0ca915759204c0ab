#!/usr/bin/env bash
# What an engine step costs beside the model, at 256 sequences.
set -eu
bin=${WEFT_BIN_DIR:-build/bench/bin}
exec "$bin/bench-engine-step" 256 500 200 "$@"
