#!/usr/bin/env bash
# go_tool.sh NAME [DIR]: builds one of the tools below from its Go module, at the version written here, and keeps it in
# ${WEFT_CACHE:-$HOME/.cache/weft}/go-tools. Prints the path of the binary on stdout; everything else goes to stderr.
# With DIR it is also put at DIR/NAME. What the module proxy gives is checked by Go against the checksum database.
# Needs the network once; Go comes from ensure_go.sh.
set -euo pipefail

name=${1:?go_tool: a tool, of: actionlint, cosign, gitleaks, grype, kubeconform, tofu}
folder=${2:-}
case $name in
  actionlint) module=github.com/rhysd/actionlint version=v1.7.12 package=./cmd/actionlint ;;
  cosign) module=github.com/sigstore/cosign/v3 version=v3.1.3 package=./cmd/cosign ;;
  gitleaks) module=github.com/zricethezav/gitleaks/v8 version=v8.30.1 package=. ;;
  grype) module=github.com/anchore/grype version=v0.121.2 package=./cmd/grype ;;
  kubeconform) module=github.com/yannh/kubeconform version=v0.8.0 package=./cmd/kubeconform ;;
  tofu) module=github.com/opentofu/opentofu version=v1.12.6 package=./cmd/tofu ;;
  *) echo "go_tool: '$name' is none of actionlint, cosign, gitleaks, grype, kubeconform, tofu" >&2; exit 2 ;;
esac

cache=${WEFT_CACHE:-$HOME/.cache/weft}/go-tools
binary=$cache/$name-$version

finish() {
  if [[ -z $folder ]]; then
    echo "$binary"
    return
  fi
  mkdir -p "$folder"
  ln -sfn "$binary" "$folder/$name"
  echo "$folder/$name"
}

if [[ -x $binary ]]; then
  finish
  exit 0
fi
PATH="$("$(dirname "${BASH_SOURCE[0]}")/ensure_go.sh"):$PATH"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # two callers at once build it once
if [[ ! -x $binary ]]; then
  work=$(mktemp -d "$cache/build.XXXXXX")
  trap 'chmod -R u+w "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
  echo "go_tool: downloading $module@$version" >&2
  info=$(cd "$work" && GOFLAGS=-mod=mod go mod download -json "$module@$version") ||
    { echo "go_tool: the download failed: $info" >&2; exit 1; }
  source=$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$info")
  # Built in a copy, because `go install` refuses modules whose go.mod replaces others.
  cp -r "$source" "$work/source"
  chmod -R u+w "$work/source"
  echo "go_tool: building $name; minutes" >&2
  (cd "$work/source" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/out" "$package") >&2
  mv "$work/out" "$binary"
fi
finish
