#!/usr/bin/env bash
# aarch64_sysroot.sh DIR PACKAGE...: the arm64 packages (with all that they depend on) of this
# machine's own release, unpacked below DIR/sysroot, to build for aarch64 against and to run what was
# built under qemu-user. apt works here with lists, cache and status of its own below DIR: the
# machine's packages and architectures stay as they are, and no root is needed. Does nothing when the
# same packages were unpacked before.
set -euo pipefail

folder=${1:?aarch64_sysroot: a folder, then packages}
shift
(($#)) || { echo "aarch64_sysroot: no packages named" >&2; exit 2; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
exec 9>"$folder/.lock"
flock 9 # two callers at once make it once
# shellcheck source=/dev/null
release=$(. /etc/os-release && printf '%s %s' "${ID:-}" "${VERSION_CODENAME:-}")
wanted=$(printf '%s\n' "$release" "$@" | sha256sum "$0" - | sha256sum | cut -d' ' -f1)
[[ -f $folder/.stamp && $(<"$folder/.stamp") == "$wanted" ]] && exit 0

apt=$folder/apt
rm -rf "$apt/sources" "$folder/sysroot" "$folder/.stamp"
mkdir -p "$apt"/{sources,lists/partial,archives/partial}
: >"$apt/status"
if [[ $release == ubuntu\ * ]]; then # its arm64 packages lie on servers of their own
  for suite in "${release#* }" "${release#* }-updates" "${release#* }-security"; do
    printf 'deb http://ports.ubuntu.com/ubuntu-ports %s main universe\n' "$suite"
  done >"$apt/sources/ports.list"
else
  for source in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    [[ -f $source ]] && cp "$source" "$apt/sources/"
  done
fi
cat >"$apt/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
CONF
export APT_CONFIG=$apt/apt.conf
echo "aarch64_sysroot: fetching arm64 packages of $release into $folder" >&2
# A third source that knows no arm64 does not matter; a package that cannot be had does, below.
apt-get update -qq >&2 || echo "aarch64_sysroot: apt-get update complained (above)" >&2
apt-get install -qq -y --download-only --no-install-recommends "$@" >&2 ||
  { echo "aarch64_sysroot: apt cannot fetch for arm64: $*" >&2; exit 1; }

# As on a real system, so that both spellings of a path are one file.
root=$folder/sysroot.part
rm -rf "$root"
mkdir -p "$root/usr/lib" "$root/usr/bin" "$root/usr/sbin"
for name in lib bin sbin; do ln -s "usr/$name" "$root/$name"; done
for archive in "$apt"/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$archive" |
    tar -x --keep-directory-symlink --no-same-owner --exclude='./usr/share/doc/*' \
      --exclude='./usr/share/man/*' --exclude='./dev/*' -C "$root"
done
# Links to absolute paths mean the sysroot's.
while IFS= read -r -d '' link; do
  target=$(readlink "$link")
  ln -sfn "$(realpath -ms --relative-to="$(dirname "$link")" "$root$target")" "$link"
done < <(find "$root" -type l -lname '/*' -print0)
mv "$root" "$folder/sysroot"
rm -rf "$apt/archives"
printf '%s' "$wanted" >"$folder/.stamp"
echo "aarch64_sysroot: $folder/sysroot is ready" >&2
