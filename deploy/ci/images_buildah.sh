#!/usr/bin/env bash
# images_buildah.sh [TARGET…]: builds the images of the Dockerfile (all, when none is named) with buildah, without Docker and without
# pulling anything: the base is made by debootstrap. Then each image is looked at: its size, its user, its health check and labels, that it
# holds no shell, its SBOM; and runc runs its program as a pod of the chart would: user 65532, no capability, a root that cannot be
# written. Needs root, buildah, debootstrap, runc, and some 20 minutes on two cores. WEFT_IMAGES_HOME keeps base and layers (default:
# ${WEFT_CACHE:-$HOME/.cache/weft}/images); WEFT_IMAGES_CCACHE=DIR gives the build's cache mount what is in that ccache; WEFT_IMAGES_BIN=DIR
# takes programs that are built already, of this machine's release, and makes the final stages alone, in a minute; with
# WEFT_IMAGES_OUT=DIR the images are also written there, as NAME.tar for `ctr images import` and `docker load`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $(id -u) -eq 0 ]] || { echo "images_buildah: needs root" >&2; exit 1; }
for program in buildah debootstrap runc; do
  command -v "$program" >/dev/null || { echo "images_buildah: install $program" >&2; exit 1; }
done
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
home=${WEFT_IMAGES_HOME:-${WEFT_CACHE:-$HOME/.cache/weft}/images}
mkdir -p "$home/tmp"
export TMPDIR=$home/tmp # buildah keeps cache mounts below it
storage=(--root "$home/storage" --runroot "$home/run")
base=docker.io/library/debian:12-slim
version=$(deploy/ci/release_version.sh 2>/dev/null || echo 0.0.0)
work=$(mktemp -d "$home/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

prebuilt=${WEFT_IMAGES_BIN:-}
if [[ -z $prebuilt ]] && ! buildah "${storage[@]}" inspect --type image "$base" >/dev/null 2>&1; then
  echo "images_buildah: making $base" >&2
  debootstrap --variant=minbase bookworm "$work/root" >&2
  cp -L /etc/resolv.conf "$work/root/etc/resolv.conf"
  tar -C "$work/root" -cf "$work/rootfs.tar" .
  rm -rf "$work/root"
  mkdir "$work/base"
  mv "$work/rootfs.tar" "$work/base/"
  printf 'FROM scratch\nADD rootfs.tar /\n' >"$work/base/Dockerfile"
  buildah "${storage[@]}" build --tag "$base" "$work/base" >&2
  rm -rf "$work/base"
fi

if [[ -z $prebuilt && -n ${WEFT_IMAGES_CCACHE:-} && ! -e $home/.seeded ]]; then
  echo "images_buildah: lending the build the compiler cache in $WEFT_IMAGES_CCACHE" >&2
  printf 'FROM %s\nRUN --mount=type=cache,target=/ccache --mount=type=bind,source=.,target=/lent cp -a /lent/. /ccache/ && rm -f /ccache/ccache.conf\n' \
    "$base" >"$work/Dockerfile"
  buildah "${storage[@]}" build --pull-never --file "$work/Dockerfile" "$WEFT_IMAGES_CCACHE" >&2
  touch "$home/.seeded"
fi

# in_container ROOT PROGRAM ARGUMENT…: by runc, as the chart's pods are run.
in_container() {
  local root=$1 bundle
  shift
  bundle=$(mktemp -d "$work/bundle.XXXXXX")
  python3 - "$root" "$@" >"$bundle/config.json" <<'PYTHON'
import json, sys
root, *args = sys.argv[1:]
print(json.dumps({
    "ociVersion": "1.0.2", "hostname": "weft",
    "process": {"user": {"uid": 65532, "gid": 65532}, "args": args, "cwd": "/var/lib/weft", "noNewPrivileges": True,
                "env": ["PATH=/usr/bin"], "capabilities": {}},
    "root": {"path": root, "readonly": True},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
               {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}],
    "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")]}}))
PYTHON
  runc --root "$work/runc" run --bundle "$bundle" "weft-check-$$-$RANDOM" </dev/null
}

fail() {
  echo "images_buildah: $*" >&2
  failed=1
}

check() { # TARGET IMAGE
  local target=$1 image=$2 container root bytes limit shell program
  container=$(buildah "${storage[@]}" from --pull-never "$image")
  root=$(buildah "${storage[@]}" mount "$container")
  bytes=$(du -sb "$root" | cut -f1)
  limit=60000000
  case $target in
    worker-cpu | weftctl) limit=80000000 ;;
    worker-cuda) limit=250000000 ;; # kernels for five kinds of GPU
  esac
  ((bytes <= limit)) || fail "$target has $bytes bytes, at most $limit are allowed"
  for shell in bin/sh bin/bash bin/dash bin/busybox usr/bin/sh usr/bin/bash usr/bin/dash usr/bin/busybox; do
    [[ ! -e $root/$shell ]] || fail "$target has a shell: /$shell"
  done
  buildah "${storage[@]}" inspect --type image "$image" >"$work/inspect.json"
  python3 - "$target" "$work/inspect.json" "$root" <<'PYTHON' || failed=1
import json, pathlib, sys
target, inspected, root = sys.argv[1:]
docker = json.load(open(inspected))["Docker"]["config"]
wrong = []
if docker["User"] != "65532:65532": wrong.append(f"user {docker['User']!r}")
if target != "weftctl" and "--healthcheck" not in (docker.get("Healthcheck") or {}).get("Test", []): wrong.append("no HEALTHCHECK")
for label in ("title", "version", "licenses"):
    if not docker["Labels"].get(f"org.opencontainers.image.{label}"): wrong.append(f"no label {label}")
sbom = json.loads((pathlib.Path(root) / "usr/share/weft/packages.spdx.json").read_text())
if sbom["spdxVersion"] != "SPDX-2.3" or len(sbom["packages"]) < 5: wrong.append("its SBOM names no packages")
print(f"{target}: user {docker['User']}, SBOM of {len(sbom['packages'])} packages" + "".join(f"; WRONG: {w}" for w in wrong))
sys.exit(bool(wrong))
PYTHON
  program=$(buildah "${storage[@]}" inspect --format '{{index .OCIv1.Config.Entrypoint 0}}' "$container")
  in_container "$root" "$program" --version || fail "$target does not run as a pod would run it"
  buildah "${storage[@]}" umount "$container" >/dev/null
  buildah "${storage[@]}" rm "$container" >/dev/null
  echo "$target: $bytes bytes"
}

# The stages after the build, of one target: its root is made here.
final_stages() { # TARGET PROGRAM
  mkdir -p "$work/roots"
  [[ -d $work/roots/$2 ]] || deploy/docker/make_root.sh "$prebuilt/$2" "$work/roots/$2"
  printf 'FROM scratch AS roots\nCOPY . /out/\n\n'
  awk -v target="$1" '/^FROM / { kept = $4 == "base" || $4 == target } kept' deploy/docker/Dockerfile
}

build() { # TARGET IMAGE
  local options=(--format docker --pull-never --target "$1" --build-arg VERSION="$version" --tag "$2") program=weft-${1%%-*}
  if [[ -n $prebuilt ]]; then
    [[ $1 != weftctl ]] || program=weftctl
    final_stages "$1" "$program" >"$work/Dockerfile"
    sed -i 's/--from=cuda-roots/--from=roots/' "$work/Dockerfile"
    buildah "${storage[@]}" build "${options[@]}" --file "$work/Dockerfile" "$work/roots" >&2
  else
    buildah "${storage[@]}" build "${options[@]}" --layers --file deploy/docker/Dockerfile \
      --build-arg WEFT_JOBS="${WEFT_JOBS:-}" --ignorefile deploy/docker/Dockerfile.dockerignore . >&2
  fi
}

targets=("$@")
if ((${#targets[@]} == 0)); then mapfile -t targets < <(deploy/ci/images.sh); fi
failed=0
for target in "${targets[@]}"; do
  image=localhost/weft-$target:check
  echo "images_buildah: $target" >&2
  build "$target" "$image"
  check "$target" "$image"
  if [[ -n ${WEFT_IMAGES_OUT:-} ]]; then
    mkdir -p "$WEFT_IMAGES_OUT"
    rm -f "$WEFT_IMAGES_OUT/$target.tar"
    buildah "${storage[@]}" push "$image" "docker-archive:$WEFT_IMAGES_OUT/$target.tar:$image" >&2
  fi
done
exit "$failed"
