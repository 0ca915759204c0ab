#!/usr/bin/env bash
# Microseconds to choose one token, by kind of request.
set -eu
bin=${WEFT_BIN_DIR:-build/bench/bin}
exec "$bin/bench-sampling"
