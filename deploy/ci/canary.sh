#!/usr/bin/env bash
# canary.sh VERSION PROMETHEUS: gives VERSION a growing share of production's load: a second release, `weft-canary`, gets 10, 25 and 50 % of it
# through ingress-nginx's canary annotations, for BAKE (300) seconds each, while judge.py looks; then the release `weft` itself is upgraded
# (100 %), judged as long, and the canary goes. When judge.py finds it bad, the canary is removed or `weft` rolled back, and this exits 1.
# Needs ingress.enabled with ingress-nginx, and what kube.sh needs. JUDGE_OPTIONS goes to judge.py; WEFT_CANARY_STEPS are the shares.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?canary: a version} prometheus=${2:?canary: the address of Prometheus}
bake=${BAKE:-300}
read -ra steps <<<"${WEFT_CANARY_STEPS:-10 25 50}"
read -ra judge_options <<<"${JUDGE_OPTIONS:-}"
# shellcheck source=deploy/ci/kube.sh
. deploy/ci/kube.sh

judge() {  # RELEASE
  deploy/ci/judge.py "$prometheus" --pods "$1-gateway-.*" --bake "$bake" "${judge_options[@]}"
}
remove() { "$helm" uninstall weft-canary --namespace "$namespace" --ignore-not-found --wait; }
give_up() {
  echo "canary: $version is not good enough; taking it back" >&2
  remove
  exit 1
}

for share in "${steps[@]}"; do
  echo "canary: $share % to $version"
  install weft-canary "$version" 10m --values deploy/ci/canary_values.yaml \
    --set-string 'ingress.annotations.nginx\.ingress\.kubernetes\.io/canary=true' \
    --set-string "ingress.annotations.nginx\.ingress\.kubernetes\.io/canary-weight=$share" || give_up
  judge weft-canary || give_up
done
echo "canary: 100 % to $version"
install weft "$version" 10m || give_up  # which went back by itself
if ! judge weft; then
  echo "canary: rolling weft back" >&2
  "$helm" rollback weft --namespace "$namespace" --wait --timeout 10m
  give_up
fi
remove
echo "canary: $version serves production"
