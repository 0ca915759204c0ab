#!/usr/bin/env bash
# scan_images.sh REGISTRY VERSION: grype over each image's list of packages (the SPDX file that make_root.sh puts into it); findings
# are in build/reports/image-NAME.sarif. Exits 1 when one is critical. Needs docker, and the network for grype's database.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
registry=${1:?scan_images: a registry and a version} version=${2:?scan_images: a registry and a version}
grype=$(deploy/tools/go_tool.sh grype)
mkdir -p build/reports
failed=0
while read -r name; do
  container=$(docker create "$registry/weft-$name:$version")
  docker cp "$container:/usr/share/weft/packages.spdx.json" "build/reports/image-$name.spdx.json"
  docker rm "$container" >/dev/null
  echo "scan_images: $name"
  "$grype" "sbom:build/reports/image-$name.spdx.json" --fail-on critical -o table -o "sarif=build/reports/image-$name.sarif" || failed=1
done < <(deploy/ci/images.sh)
exit "$failed"
