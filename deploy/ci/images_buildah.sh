#!/usr/bin/env bash
# images_buildah.sh: builds every image of the Dockerfile with buildah, without Docker and without pulling anything: the base is made by
# debootstrap. Then each image's size is checked, its program asked for its version as user 65532, and the root looked through for a
# shell. Needs root, buildah, debootstrap and about 20 minutes on two cores. WEFT_IMAGES_HOME keeps base and layers (default:
# ${WEFT_CACHE:-$HOME/.cache/weft}/images).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $(id -u) -eq 0 ]] || { echo "images_buildah: needs root" >&2; exit 1; }
for program in buildah debootstrap; do
  command -v "$program" >/dev/null || { echo "images_buildah: install $program" >&2; exit 1; }
done
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
home=${WEFT_IMAGES_HOME:-${WEFT_CACHE:-$HOME/.cache/weft}/images}
mkdir -p "$home"
storage=(--root "$home/storage" --runroot "$home/run")
base=docker.io/library/debian:12-slim
work=$(mktemp -d "$home/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

if ! buildah "${storage[@]}" inspect --type image "$base" >/dev/null 2>&1; then
  echo "images_buildah: making $base" >&2
  debootstrap --variant=minbase bookworm "$work/root" >&2
  cp -L /etc/resolv.conf "$work/root/etc/resolv.conf"
  tar -C "$work/root" -cf "$work/rootfs.tar" .
  printf 'FROM scratch\nADD rootfs.tar /\n' >"$work/Dockerfile"
  buildah "${storage[@]}" build --tag "$base" "$work" >&2
fi

failed=0
while read -r target; do
  image=localhost/weft-$target:check
  echo "images_buildah: $target" >&2
  buildah "${storage[@]}" build --pull-never --layers --file deploy/docker/Dockerfile --target "$target" --tag "$image" . >&2
  container=$(buildah "${storage[@]}" from --pull-never "$image")
  root=$(buildah "${storage[@]}" mount "$container")
  bytes=$(du -sb "$root" | cut -f1)
  limit=$((60 << 20))
  [[ $target == worker-* || $target == weftctl ]] && limit=$((80 << 20))
  ((bytes <= limit)) || { echo "images_buildah: $target has $bytes bytes, at most $limit are allowed" >&2; failed=1; }
  for shell in bin/sh bin/bash bin/busybox usr/bin/sh usr/bin/bash; do
    [[ ! -e $root/$shell ]] || { echo "images_buildah: $target has a shell: /$shell" >&2; failed=1; }
  done
  program=$(buildah "${storage[@]}" inspect --format '{{index .OCIv1.Config.Entrypoint 0}}' "$container")
  buildah "${storage[@]}" run --user 65532:65532 "$container" -- "$program" --version || failed=1
  buildah "${storage[@]}" umount "$container" >/dev/null
  buildah "${storage[@]}" rm "$container" >/dev/null
  echo "$target: $bytes bytes"
done < <(deploy/ci/images.sh)
exit "$failed"
