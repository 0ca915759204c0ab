#!/usr/bin/env bash
# release_images.sh build REGISTRY VERSION      builds all images for this machine's processor
# release_images.sh push REGISTRY VERSION       and pushes them as VERSION-amd64 or VERSION-arm64
# release_images.sh join REGISTRY VERSION       makes VERSION and the commit's tag from those two, prints NAME@DIGEST a line
#
# Each processor's images are built on such a machine: emulated, a build would take hours. Needs docker with buildx.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
(($# == 3)) || usage
command=$1 registry=$2 version=$3
revision=$(git rev-parse HEAD)

build() {  # [OPTION…] for docker buildx build
  local name
  while read -r name; do
    docker buildx build -f deploy/docker/Dockerfile --target "$name" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
      --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" "$@" -t "$registry/weft-$name:$version$suffix" .
  done < <(deploy/ci/images.sh "${which[@]}")
}
which=()

case $command in
  build)
    suffix=""
    build --load
    ;;
  push)
    suffix=-$(dpkg --print-architecture)
    which=(--cuda)
    build --push --provenance=mode=max
    ;;
  join)
    while read -r name; do
      image=$registry/weft-$name
      docker buildx imagetools create -t "$image:$version" -t "$image:$revision" "$image:$version-amd64" "$image:$version-arm64" >&2
      digest=$(docker buildx imagetools inspect "$image:$version" --format '{{.Manifest.Digest}}')
      echo "$image@$digest"
    done < <(deploy/ci/images.sh --cuda)
    ;;
  *) usage ;;
esac
