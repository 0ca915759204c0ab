#!/usr/bin/env bash
# deploy_chart.sh staging|production VERSION: installs or upgrades the release `weft` in the cluster of KUBECONFIG (kube.sh says how it and
# the values are given), waits 5 minutes in staging, 10 in production, and goes back to what was there when it does not get ready.
# WEFT_CHART is the chart: helm/weft, or oci://HOST/PATH/weft.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
environment=${1:?deploy_chart: staging or production} version=${2:?deploy_chart: a version}
case $environment in
  staging) timeout=5m ;;
  production) timeout=10m ;;
  *) echo "deploy_chart: '$environment' is neither staging nor production" >&2; exit 2 ;;
esac
# shellcheck source=deploy/ci/kube.sh
. deploy/ci/kube.sh
install weft "$version" "$timeout"
echo "deploy_chart: $version is in $environment"
