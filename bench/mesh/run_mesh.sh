#!/usr/bin/env bash
# What a hop costs with a worker that computes nothing: 1 to 256 streams, paced and not; added latency.
set -eu
bin=${WEFT_BIN_DIR:-build/bench/bin}
mkdir -p bench/results
exec "$bin/bench_mesh" --model "$WEFT_MODEL" --json bench/results/mesh.json
