#!/usr/bin/env bash
# release_files.sh VERSION: everything that a release has besides images, in build/release-files: chart, changelog, SBOM and, over all of
# them and what is there already, SHA256SUMS. WEFT_RELEASE_DIR is another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?release_files: a version} out=${WEFT_RELEASE_DIR:-build/release-files}
git config --get-all safe.directory | grep -qxF "$PWD" || git config --global --add safe.directory "$PWD"
mkdir -p "$out"
deploy/ci/release_chart.sh "$version" "$out"
deploy/ci/changelog.py --out "$out/CHANGELOG.md"
deploy/ci/sbom.py --out "$out/weft-$version.spdx.json"
deploy/ci/checksums.sh "$out"
deploy/ci/checksums.sh --check "$out"
