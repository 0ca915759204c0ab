#!/usr/bin/env bash
# Hit rates of the response cache's eviction beside LRU: Zipf requests, then a replayed trace: every
# file that the compilers of this repository read, in the order of the build (ninja's dependency log).
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${WEFT_BIN_DIR:-build/bench/bin}
build=${1:-build/dev}
trace=$(mktemp)
trap 'rm -f "$trace"' EXIT
"$bin/bench_hit_rate"
(cd "$build" && ninja -t deps | sed -n 's/^    //p' | while read -r file; do realpath -m -- "$file"; done) |
  awk '{ if (!($0 in size)) { c = "stat -c %s \"" $0 "\" 2>/dev/null"; if ((c | getline s) <= 0) s = 0; close(c); size[$0] = s } print $0, size[$0] }' >"$trace"
"$bin/bench_hit_rate" --trace "$trace"
