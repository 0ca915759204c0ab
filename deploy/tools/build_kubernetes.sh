#!/usr/bin/env bash
# build_kubernetes.sh [NAME…]: builds the programs of a real Kubernetes node from their Go modules (kube-apiserver,
# kube-controller-manager, kube-scheduler, kubelet, kube-proxy, etcd, coredns; all of them when none is named) and keeps them in
# ${WEFT_CACHE:-$HOME/.cache/weft}/kubernetes/VERSION. Prints that folder on stdout; everything else goes to stderr. A program that
# is there already is not built again. What the module proxy gives is checked by Go against the checksum database. Needs the
# network once; Go comes from ensure_go.sh. GOMAXPROCS and GOFLAGS=-p=N bound what the build takes of the machine.
set -euo pipefail

version=1.34.2
etcd_version=v3.6.5
coredns_version=v1.12.4
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
cache=${WEFT_CACHE:-$HOME/.cache/weft}/kubernetes/$version
if (($#)); then wanted=("$@"); else wanted=(etcd "${programs[@]}" coredns); fi

missing=()
for name in "${wanted[@]}"; do [[ -x $cache/$name ]] || missing+=("$name"); done
if ((${#missing[@]} == 0)); then
  echo "$cache"
  exit 0
fi
PATH="$("$(dirname "${BASH_SOURCE[0]}")/ensure_go.sh"):$PATH"
export CGO_ENABLED=0
mkdir -p "$cache/src"
exec 9>"$cache/.lock"
flock 9 # two callers at once build it once
say() { printf 'build_kubernetes: %s\n' "$*" >&2; }

# k8s.io/kubernetes replaces its staging modules; a module that requires it must repeat that.
ensure_module() {
  local name
  cd "$cache/src"
  [[ -f .tidy ]] && return
  rm -f go.mod go.sum
  go mod init weft.invalid/kubernetes >&2
  go mod edit -require="k8s.io/kubernetes@v$version"
  for name in api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap \
    code-generator component-base component-helpers controller-manager cri-api cri-client csi-translation-lib \
    dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator kube-controller-manager kube-proxy kube-scheduler \
    kubectl kubelet metrics mount-utils pod-security-admission sample-apiserver sample-cli-plugin sample-controller; do
    go mod edit -replace="k8s.io/$name=k8s.io/$name@v0.${version#1.}"
  done
  {
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "${programs[@]}"
    printf ')\n'
  } >tools.go
  say "resolving the modules of Kubernetes $version"
  go mod tidy >&2
  touch .tidy
}

build() { # NAME PACKAGE [LDFLAG]
  say "building $1"
  go build -trimpath -ldflags "-s -w ${3:-}" -o "$cache/$1.part" "$2" >&2
  mv "$cache/$1.part" "$cache/$1"
}

for name in "${missing[@]}"; do
  [[ -x $cache/$name ]] && continue
  case $name in
    etcd)
      mkdir -p "$cache/src/etcd" && cd "$cache/src/etcd"
      rm -f go.mod go.sum
      go mod init weft.invalid/etcd >&2
      go mod edit -require="go.etcd.io/etcd/server/v3@$etcd_version"
      printf 'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n' >main.go
      go mod tidy >&2
      build etcd .
      ;;
    coredns)
      mkdir -p "$cache/src/coredns" && cd "$cache/src/coredns"
      rm -f go.mod go.sum
      go mod init weft.invalid/coredns >&2
      go get "github.com/coredns/coredns@$coredns_version" >&2
      build coredns github.com/coredns/coredns
      ;;
    *)
      [[ " ${programs[*]} " == *" $name "* ]] || { say "'$name' is none of etcd coredns ${programs[*]}"; exit 2; }
      ensure_module
      build "$name" "k8s.io/kubernetes/cmd/$name" "-X k8s.io/component-base/version.gitVersion=v$version"
      ;;
  esac
done
echo "$cache"
