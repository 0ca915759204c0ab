#!/usr/bin/env bash
# bare_machine.sh [--suite bookworm|trixie|noble] [--root DIR] [--test ARGUMENTS]: what a person with
# a new Debian, or with noble a new Ubuntu 24.04, sees. Makes a minimal system with debootstrap, copies
# this tree into it, and in a chroot runs `./weft up --detach`, asks for a chat, runs status and down;
# with --test also `./weft test ARGUMENTS`. Needs root and the default ports. --root keeps the system
# for the next time. WEFT_BARE_CCACHE=DIR lends the system a compiler cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

suite=bookworm root="" test_arguments="" with_test=0
while (($#)); do
  case $1 in
    --suite) suite=$2; shift ;;
    --root) root=$2; shift ;;
    --test) with_test=1 test_arguments=$2; shift ;;
    *) echo "bare_machine: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
if [[ $(id -u) -ne 0 ]]; then
  echo "bare_machine: needs root for debootstrap and chroot; skipped" >&2
  exit 77
fi
# Mounts are made in a namespace of their own: none is left behind, whatever happens.
if [[ -z ${WEFT_BARE_INSIDE:-} ]]; then
  arguments=(--suite "$suite")
  [[ -n $root ]] && arguments+=(--root "$root")
  ((with_test)) && arguments+=(--test "$test_arguments")
  WEFT_BARE_INSIDE=1 exec unshare --mount --propagation private "$0" "${arguments[@]}"
fi

if [[ -z $root ]]; then
  root=$(mktemp -d /var/tmp/weft-bare-XXXXXX)
  trap 'umount -l "$root/proc" "$root/sys" "$root/dev/shm" "$root/ccache" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
fi
# Debian's debootstrap may know neither the suite nor the key of Ubuntu's archive.
bootstrap_ubuntu() {
  local keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg check=()
  if [[ -r $keyring ]]; then
    check=(--keyring "$keyring")
  else
    echo "bare_machine: $keyring is not there: the packages' signatures are not checked"
    check=(--no-check-gpg)
  fi
  debootstrap "${check[@]}" --variant=minbase --components=main,universe "$suite" "$root" \
    http://archive.ubuntu.com/ubuntu gutsy >/dev/null
}

if [[ ! -e $root/etc/debian_version ]]; then
  echo "bare_machine: debootstrap $suite into $root"
  case $suite in
    noble) bootstrap_ubuntu ;;
    *) debootstrap --variant=minbase "$suite" "$root" >/dev/null ;;
  esac
fi

mkdir -p "$root/src" "$root/ccache" "$root/dev/shm"
git ls-files -co --exclude-standard -z | tar --null -T - -cf - | tar -xf - -C "$root/src"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/dev/shm"
[[ -n ${WEFT_BARE_CCACHE:-} ]] && mount --bind "$WEFT_BARE_CCACHE" "$root/ccache"

in_root() {
  chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb LANG=C.UTF-8 \
    CCACHE_DIR=/ccache WEFT_PRESET="${WEFT_PRESET:-release}" PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt WEFT_JOBS="${WEFT_JOBS:-$(nproc)}" \
    bash -c "cd /src && $1"
}

# A network that has a certificate authority of its own is the machine's matter, not Weft's.
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [[ -r $bundle ]] && ! cmp -s "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"; then
  in_root 'apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates' >/dev/null 2>&1
  cp "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
fi

started=$(date +%s)
in_root './weft up --detach' | tee "$root/up.txt"
echo "bare_machine: up after $(($(date +%s) - started)) s"
failed=0
# The two lines that it says can be pasted.
in_root "grep -E '^  (curl|python3) ' /up.txt >/try && bash -e -o pipefail /try && test \$(wc -l </try) = 2" ||
  failed=1
# shellcheck disable=SC2016  # expands inside
in_root 'curl -sS --fail-with-body http://127.0.0.1:8080/v1/chat/completions \
    -H "Authorization: Bearer $(cat .weft/admin.key)" -H "Content-Type: application/json" \
    -d "{\"model\": \"SmolLM2-135M-Instruct\", \"max_tokens\": 16, \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}]}" &&
  echo && ./weft up | cat && ./weft status' || failed=1
in_root './weft down && ! ./weft status' || failed=1
if ((with_test)); then
  started=$(date +%s)
  in_root "./weft test $test_arguments" || failed=1
  echo "bare_machine: test $test_arguments after $(($(date +%s) - started)) s"
fi
((failed)) && { echo "bare_machine: FAILED on $suite" >&2; exit 1; }
echo "bare_machine: $suite is fine"
