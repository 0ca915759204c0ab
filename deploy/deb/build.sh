#!/usr/bin/env bash
# build.sh BIN DIR: makes DIR/weft_VERSION_ARCH.deb of the programs in BIN, for the release of Debian or Ubuntu that this machine has: all
# services, weftctl, the units of deploy/systemd, /etc/weft/weft.yaml and the backup scripts. Needs cpack (cmake) and dpkg-dev.
set -euo pipefail
(($# == 2)) || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$2"
bin=$(readlink -f "$1") out=$(readlink -f "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v dpkg-shlibdeps >/dev/null || { echo "build: install dpkg-dev" >&2; exit 1; }
version=$(deploy/ci/release_version.sh)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
for name in gateway scheduler worker scanner collector; do
  install -D -m 755 -s "$bin/weft-$name" "$root/usr/bin/weft-$name"
done
install -D -m 755 -s "$bin/weftctl" "$root/usr/bin/weftctl"
install -D -m 644 -t "$root/usr/lib/systemd/system" deploy/systemd/weft@.service deploy/systemd/weft.target
install -D -m 644 deploy/systemd/weft.yaml "$root/etc/weft/weft.yaml"
install -D -m 755 -t "$root/usr/share/weft" deploy/backup/backup.sh deploy/backup/restore.sh
install -D -m 644 LICENSE "$root/usr/share/doc/weft/copyright"
chmod 755 "$root" "$work"

mkdir "$work/control"
echo /etc/weft/weft.yaml >"$work/control/conffiles"
for script in postinst prerm postrm; do install -m 755 "deploy/deb/$script" "$work/control/$script"; done
chmod 644 "$work/control/conffiles"

WEFT_DEB_VERSION=$version WEFT_DEB_ROOT=$root WEFT_DEB_OUT=$work/out WEFT_DEB_CONTROL=$work/control \
  cpack --config deploy/deb/cpack.cmake -B "$work/cpack" >&2
package=$(find "$work" -maxdepth 2 -name 'weft_*.deb' | head -n 1)
[[ -n $package ]] || { echo "build: cpack made no package" >&2; exit 1; }
mv "$package" "$out/"
echo "$out/${package##*/}"
