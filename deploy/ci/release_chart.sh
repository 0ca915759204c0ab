#!/usr/bin/env bash
# release_chart.sh VERSION DIR [OCI]: packages helm/weft as DIR/weft-VERSION.tgz with that version for chart and images, and pushes it to
# the OCI registry path OCI (oci://HOST/PATH) when one is given; then prints OCI/weft@DIGEST. Needs helm (deploy/tools/get_helm.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?release_chart: a version} folder=${2:?release_chart: a folder} oci=${3:-}
helm=$(deploy/tools/get_helm.sh)
mkdir -p "$folder"
"$helm" lint --strict helm/weft --values helm/weft/values/prod.yaml >&2
"$helm" package helm/weft --version "$version" --app-version "$version" --destination "$folder" >&2
if [[ -n $oci ]]; then
  told=$("$helm" push "$folder/weft-$version.tgz" "$oci" 2>&1) || { echo "$told" >&2; exit 1; }
  echo "${oci#oci://}/weft@$(sed -n 's/^Digest: //p' <<<"$told")"
fi
