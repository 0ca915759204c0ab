#!/usr/bin/env bash
# Gigabytes of source code a second through the rules; cost of a token in a stream.
set -eu
bin=${WEFT_BIN_DIR:-build/bench/bin}
exec "$bin/bench-scan" .
