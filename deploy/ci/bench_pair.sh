#!/usr/bin/env bash
# bench_pair.sh BASE_WEFTCTL HEAD_WEFTCTL MODEL OUT [ROUNDS]: `weftctl bench` of two builds in turns, ROUNDS (5) times, into OUT/base and
# OUT/head; what goes first changes from round to round. WEFT_BENCH_OPTIONS goes to both.
set -euo pipefail
(($# >= 4)) || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
base=$1 head=$2 model=$3 out=$4 rounds=${5:-5}
read -ra options <<<"${WEFT_BENCH_OPTIONS:---prefill 256 --decode 64 --batch 1 8}"
rm -rf "$out/base" "$out/head"
mkdir -p "$out"/{base,head}
one() {  # WHICH ROUND
  local program=$base
  if [[ $1 == head ]]; then program=$head; fi
  "$program" bench "$model" "${options[@]}" --json >"$out/$1/$2.json"
}
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="base head"; else order="head base"; fi
  for which in $order; do one "$which" "$round"; done
  echo "bench_pair: round $round of $rounds" >&2
done
