#!/usr/bin/env bash
# make_root.sh BINARY DIR: the whole file system of an image that runs BINARY and holds nothing else: the program,
# stripped; the shared libraries and the loader it needs; certificates, time zones; the user 65532; empty folders that a
# container mounts over. No shell, no package manager. Also writes DIR/usr/share/weft/packages.spdx.json: which Debian
# packages the files are from (SPDX 2.3).
set -euo pipefail

binary=$(readlink -f "$1")
root=$2
name=$(basename "$binary")
mkdir -p "$root"/{etc/ssl/certs,etc/weft,models,tmp,usr/bin,usr/share/weft,var/lib/weft}
chmod 1777 "$root/tmp"
chown 65532:65532 "$root/var/lib/weft" "$root/models" 2>/dev/null || true

strip -o "$root/usr/bin/$name" "$binary"
chmod 755 "$root/usr/bin/$name"

# Libraries keep the paths that the loader looks for, links followed.
mapfile -t libraries < <(ldd "$binary" | awk '/=> \// {print $3} /^[[:space:]]*\// {print $1}' | sort -u)
if ldd "$binary" | grep -q 'not found'; then
  ldd "$binary" | grep 'not found' >&2
  exit 1
fi
for library in "${libraries[@]}"; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
  strip --strip-unneeded "$root$library" 2>/dev/null || true
done

cat >"$root/etc/passwd" <<'TEXT'
root:x:0:0:root:/:/sbin/nologin
weft:x:65532:65532:Weft:/var/lib/weft:/sbin/nologin
TEXT
printf 'root:x:0:\nweft:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
if [[ -d /usr/share/zoneinfo ]]; then
  mkdir -p "$root/usr/share/zoneinfo"
  for zone in UTC Etc; do
    [[ -e /usr/share/zoneinfo/$zone ]] && cp -rL "/usr/share/zoneinfo/$zone" "$root/usr/share/zoneinfo/"
  done
fi

# What is inside, for those who look for known faults in it.
{
  printf '{"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "%s",\n' "$name"
  printf ' "documentNamespace": "https://weft.invalid/spdx/%s/%s",\n' "$name" "$(sha256sum "$root/usr/bin/$name" | cut -c1-32)"
  printf ' "creationInfo": {"created": "%s", "creators": ["Tool: make_root.sh"]},\n' "$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)"
  printf ' "packages": [\n'
  printf '  {"SPDXID": "SPDXRef-weft", "name": "%s", "versionInfo": "%s", "downloadLocation": "NOASSERTION", "filesAnalyzed": false}' \
    "$name" "$("$binary" --version | awk '{print $NF}')"
  # A library's package may have listed it below / or below /usr: both name the same folder. Diversions are listed too.
  names=()
  for library in "${libraries[@]}"; do names+=("$library" "${library#/usr}" "/usr$library"); done
  mapfile -t packages < <(dpkg -S "${names[@]}" 2>/dev/null | sed '/^diversion by /d; s/:.*//' | sort -u)
  dpkg-query -W -f='${Package} ${Version} ${Architecture}\n' "${packages[@]}" | sort -u | while read -r package version architecture; do
    printf ',\n  {"SPDXID": "SPDXRef-%s", "name": "%s", "versionInfo": "%s", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,\n' \
      "${package//[^A-Za-z0-9.-]/-}" "$package" "$version"
    printf '   "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "pkg:deb/debian/%s@%s?arch=%s"}]}' \
      "$package" "${version//+/%2B}" "$architecture"
  done
  printf '\n ]}\n'
} >"$root/usr/share/weft/packages.spdx.json"
