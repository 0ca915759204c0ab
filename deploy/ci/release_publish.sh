#!/usr/bin/env bash
# release_publish.sh TAG REGISTRY: joins the two processors' images, pushes the chart, signs all of them and SHA256SUMS, and makes GitHub's
# release with the files of build/release-files. Needs docker with buildx, gh, and a login at REGISTRY.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tag=${1:?release_publish: a tag} registry=${2:?release_publish: a registry}
version=$(deploy/ci/release_version.sh "$tag")
out=build/release-files
mapfile -t signed < <(deploy/ci/release_images.sh join "$registry" "$version")
signed+=("$(deploy/ci/release_chart.sh "$version" "$out" "oci://$registry/charts")")
deploy/ci/sign.sh images "${signed[@]}"
# The package is made anew for the push: the sums are those of the files that go out.
deploy/ci/checksums.sh "$out"
deploy/ci/sign.sh file "$out/SHA256SUMS"
gh release create "$tag" --verify-tag --title "Weft $version" --notes-file "$out/CHANGELOG.md" "$out"/*
