#!/usr/bin/env bash
# release_version.sh [TAG]: prints the version that CMakeLists.txt names, after seeing that the chart, the Dockerfile and the compose
# files name the same; with TAG also that TAG is v and that version. Exits 1 and says which one differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=$(sed -nE 's/^project\(weft VERSION ([0-9]+\.[0-9]+\.[0-9]+) .*/\1/p' CMakeLists.txt)
[[ -n $version ]] || { echo "release_version: CMakeLists.txt names no version" >&2; exit 1; }
failed=0
same() {  # WHERE FOUND…
  local where=$1 found
  shift
  (($#)) || { echo "release_version: $where names no version" >&2; failed=1; }
  for found in "$@"; do
    [[ $found == "$version" ]] || { echo "release_version: $where has $found, CMakeLists.txt $version" >&2; failed=1; }
  done
}
mapfile -t found < <(sed -nE 's/^(version|appVersion): "?([^"]+)"?$/\2/p' helm/weft/Chart.yaml)
same helm/weft/Chart.yaml "${found[@]}"
mapfile -t found < <(sed -nE 's/^ARG VERSION=(.*)$/\1/p' deploy/docker/Dockerfile)
same deploy/docker/Dockerfile "${found[@]}"
mapfile -t found < <(sed -nE 's/^ *image: localhost\/weft-[a-z-]+:(.*)$/\1/p' deploy/compose/*.yaml)
same deploy/compose "${found[@]}"
if [[ -n ${1:-} && $1 != "v$version" ]]; then
  echo "release_version: the tag is $1, the version $version" >&2
  failed=1
fi
((failed == 0)) || exit 1
echo "$version"
