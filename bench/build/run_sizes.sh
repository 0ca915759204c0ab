#!/usr/bin/env bash
# Bytes of each binary, stripped.
set -eu
bin=${WEFT_BIN_DIR:-build/bench/bin}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for name in weft-gateway weft-scheduler weft-worker weft-scanner weft-collector weftctl; do
  strip -o "$scratch/$name" "$bin/$name"
  printf '%-16s %9d bytes stripped, %10d with symbols\n' "$name" \
    "$(stat -c %s "$scratch/$name")" "$(stat -c %s "$bin/$name")"
done
