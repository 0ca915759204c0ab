#!/usr/bin/env bash
# fuzz_job.sh SECONDS [TARGET…]: builds the fuzz targets with libFuzzer and the address sanitizer (preset fuzz) and lets each run
# for SECONDS, from its committed corpus. What makes one fall is kept in build/reports/fuzz. Without targets, all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:?fuzz_job: how many seconds for each target}
shift
./weft build --preset fuzz
targets=("$@")
if ((${#targets[@]} == 0)); then
  for file in build/fuzz/bin/fuzz_*; do targets+=("${file##*/fuzz_}"); done
fi
mkdir -p build/reports/fuzz
failed=0
for target in "${targets[@]}"; do
  echo "fuzz_job: $target for $seconds s"
  new=build/fuzz/new/$target seeds=tests/data/fuzz/$target
  mkdir -p "$new"
  folders=("$new")
  if [[ -d $seeds ]]; then folders+=("$seeds"); fi
  "build/fuzz/bin/fuzz_$target" -max_total_time="$seconds" -max_len=16384 -timeout=25 -rss_limit_mb=4096 -print_final_stats=1 \
    -artifact_prefix="build/reports/fuzz/$target-" "${folders[@]}" || failed=1
done
exit "$failed"
