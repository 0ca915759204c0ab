#!/usr/bin/env bash
# deb_install.sh PACKAGE MODEL: what a person with a new Debian, of this machine's release, sees of the package: makes a minimal system with
# debootstrap, installs PACKAGE with apt, puts MODEL where the configuration says, starts the services as their units would (same user,
# same command lines; there is no systemd in a chroot), tries them with smoke.py, stops, removes and purges. Needs root. The services
# run in a network of their own: ports of this machine are not taken.
set -euo pipefail
(($# == 2)) || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
package=$(readlink -f "$1") model=$(readlink -f "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $(id -u) -eq 0 ]] || { echo "deb_install: needs root; skipped" >&2; exit 77; }
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")

root=$(mktemp -d /var/tmp/weft-deb-XXXXXX)
chmod 755 "$root"  # it is / to the user weft
pids=()
finish() {
  ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
  wait || true
  rm -rf --one-file-system "$root"
}
trap finish EXIT
debootstrap --variant=minbase "$suite" "$root" >/dev/null
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$package" "$root/weft.deb"
in_root() { chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
in_root apt-get update -qq
in_root apt-get install -y -qq --no-install-recommends /weft.deb >/dev/null
in_root dpkg --verify weft
in_root id weft
cp "$model" "$root/var/lib/weft/models/model.gguf"
in_root install -d -o weft -g weft -m 755 /run/weft

# The rest of this script again, in a network of its own.
export WEFT_DEB_ROOT=$root
unshare --net bash -euo pipefail <<'INSIDE'
python3 - <<'PYTHON'
import fcntl, socket, struct  # lo up, without iproute2
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
PYTHON
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait || true' EXIT
start() {
  chroot --userspec=weft:weft "$WEFT_DEB_ROOT" env -i HOME=/var/lib/weft "/usr/bin/weft-$1" --config /etc/weft/weft.yaml >"$WEFT_DEB_ROOT/var/tmp/$1.log" 2>&1 &
  pids+=($!)
}
for service in collector scanner worker scheduler gateway; do start "$service"; done
for service in gateway scheduler worker scanner collector; do
  for ((i = 0; i < 600; i++)); do
    chroot "$WEFT_DEB_ROOT" "/usr/bin/weft-$service" --config /etc/weft/weft.yaml --healthcheck >/dev/null 2>&1 && break
    sleep 0.2
  done
  ((i < 600)) || { echo "deb_install: $service does not get healthy:" >&2; tail -n 20 "$WEFT_DEB_ROOT/var/tmp/$service.log" >&2; exit 1; }
done
deploy/ci/smoke.py http://127.0.0.1:8080 --key-file "$WEFT_DEB_ROOT/var/lib/weft/admin.key" --wait 120
kill "${pids[@]}"
for pid in "${pids[@]}"; do wait "$pid" || { echo "deb_install: a service did not end with 0" >&2; exit 1; }; done
pids=()
trap - EXIT
INSIDE

in_root apt-get remove -y -qq weft >/dev/null
[[ -e $root/var/lib/weft/gateway.db && -e $root/etc/weft/weft.yaml ]] || { echo "deb_install: the removal took data" >&2; exit 1; }
in_root apt-get purge -y -qq weft >/dev/null
[[ ! -e $root/var/lib/weft && ! -e $root/etc/weft/weft.yaml ]] || { echo "deb_install: the purge left data" >&2; exit 1; }
echo "deb_install: $(basename "$package") is fine on $suite"
