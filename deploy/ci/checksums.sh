#!/usr/bin/env bash
# checksums.sh DIR: writes DIR/SHA256SUMS over every file in DIR, in the order of their names. checksums.sh --check DIR: sees that each
# is as it was, that none is missing and that none came in beside them.
set -euo pipefail
check=0
if [[ ${1:-} == --check ]]; then check=1; shift; fi
cd "${1:?checksums: a folder}"
files() { find . -type f ! -name 'SHA256SUMS*' -printf '%P\n' | LC_ALL=C sort; }
if ((check)); then
  sha256sum --check --strict --quiet SHA256SUMS
  diff <(sed -E 's/^[0-9a-f]{64} [ *]//' SHA256SUMS) <(files) || { echo "checksums: the files are not those of SHA256SUMS" >&2; exit 1; }
  exit 0
fi
[[ -n $(files) ]] || { echo "checksums: there is nothing in $PWD" >&2; exit 1; }
files | tr '\n' '\0' | xargs -0 sha256sum >SHA256SUMS.part
mv SHA256SUMS.part SHA256SUMS
