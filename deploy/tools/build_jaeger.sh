#!/usr/bin/env bash
# Builds the real Jaeger (all in one: OTLP 4317/4318, query API 16686) from its Go module and keeps
# it in ${WEFT_CACHE:-$HOME/.cache/weft}/jaeger. Prints the path of the binary on stdout; everything
# else goes to stderr. Does nothing when the cached binary is there. Needs the network once; Go comes
# from ensure_go.sh.
# With an argument, the binary is also put at DIR/jaeger, and that is the path printed.
#
#   deploy/tools/build_jaeger.sh [DIR]
#
# `go install` refuses Jaeger because its go.mod holds replace directives, so the module's source is
# downloaded, copied out of the read-only module cache, and built in place.
set -euo pipefail

version="${JAEGER_VERSION:-v1.76.0}"
cache="${WEFT_CACHE:-$HOME/.cache/weft}/jaeger"
binary="$cache/jaeger-$version"
folder="${1:-}"

# Prints where the binary is, after putting it where the caller wants it.
finish() {
  if [ -z "$folder" ]; then
    echo "$binary"
    return
  fi
  mkdir -p "$folder"
  ln -f "$binary" "$folder/jaeger" 2>/dev/null || cp -f "$binary" "$folder/jaeger"
  echo "$folder/jaeger"
}

if [ -x "$binary" ]; then
  finish
  exit 0
fi
PATH="$("$(dirname "${BASH_SOURCE[0]}")/ensure_go.sh"):$PATH"

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # two callers at once build it once
if [ -x "$binary" ]; then
  finish
  exit 0
fi

work="$(mktemp -d "$cache/build.XXXXXX")"
trap 'chmod -R u+w "$work" 2>/dev/null || true; rm -rf "$work"' EXIT

echo "build_jaeger: downloading jaeger $version" >&2
info="$(cd "$work" && GOFLAGS=-mod=mod go mod download -json "github.com/jaegertracing/jaeger@$version")" || {
  echo "build_jaeger: download failed: $info" >&2
  exit 1
}
source="$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$info")"
[ -d "$source" ] || { echo "build_jaeger: no source directory in: $info" >&2; exit 1; }
cp -r "$source" "$work/jaeger"
chmod -R u+w "$work/jaeger"

echo "build_jaeger: building (about 6 minutes on two cores)" >&2
(cd "$work/jaeger" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/out" ./cmd/jaeger) >&2
mv "$work/out" "$binary"
echo "build_jaeger: $binary" >&2
finish
