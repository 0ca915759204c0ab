#!/usr/bin/env bash
# Finds a CUDA 13 toolkit on this machine, or assembles one from NVIDIA's wheels on the Python package
# index (about 1.5 GB on disk, half a minute on a fast line) in DIR. Prints the toolkit's root, where
# bin/nvcc is, on stdout; everything else goes to stderr. Does nothing when DIR holds what this script
# assembled before.
#
#   deploy/tools/cuda_toolkit.sh [DIR]      default DIR: ${WEFT_HOME:-.weft}/cuda
#
# Looked at first, in this order: $CUDA_HOME, $CUDA_PATH, nvcc on PATH, /usr/local/cuda. A toolkit of
# another major version is passed over, and said. WEFT_CUDA_ASSEMBLE=1 looks at none of them.
set -euo pipefail

major=13
# nvcc, its front end's headers, its back end and the runtime belong together.
wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
  nvidia-nvtx==13.5.25 nvidia-cuda-culibos==13.5.25
  nvidia-cublas==13.1.0.3 nvidia-nccl-cu13==2.32.3
)

say() { printf 'cuda_toolkit: %s\n' "$*" >&2; }

version_of() {  # ROOT -> "13.0", or nothing
  "$1/bin/nvcc" --version 2>/dev/null | sed -n 's/^.*release \([0-9]*\.[0-9]*\).*$/\1/p'
}

on_machine() {  # prints the root of a toolkit of the right major version
  local root version nvcc
  nvcc=$(command -v nvcc || true)
  for root in "${CUDA_HOME:-}" "${CUDA_PATH:-}" "${nvcc:+$(dirname "$(dirname "$(readlink -f "$nvcc")")")}" \
    /usr/local/cuda; do
    [[ -n $root && -x $root/bin/nvcc ]] || continue
    version=$(version_of "$root")
    if [[ ${version%%.*} == "$major" ]]; then
      say "using CUDA $version of $root"
      printf '%s\n' "$root"
      return
    fi
    say "passing over CUDA ${version:-of unknown version} in $root: $major is needed"
  done
  return 1
}

assemble() {  # DIR
  local dir=$1 stamp parts part library
  stamp=$(printf '%s\n' "${wheels[@]}" | sha256sum | cut -d' ' -f1)
  if [[ $(cat "$dir/.stamp" 2>/dev/null) == "$stamp" && -x $dir/toolkit/bin/nvcc ]]; then
    return
  fi
  say "assembling CUDA $major from ${#wheels[@]} Python packages in $dir (about 1.5 GB)"
  rm -rf "$dir/packages" "$dir/toolkit" "$dir/.stamp"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-deps \
    --target "$dir/packages" "${wheels[@]}" >&2
  parts=$dir/packages/nvidia
  mkdir -p "$dir/toolkit"
  cp -as "$parts/cu$major/." "$dir/toolkit/"
  for part in include lib; do cp -as "$parts/nccl/$part/." "$dir/toolkit/$part/"; done
  ln -sfn lib "$dir/toolkit/lib64"
  # What linkers ask for: the wheels hold only names with versions.
  for library in "$dir"/toolkit/lib/lib*.so.*; do
    part=${library##*/}
    [[ -e $dir/toolkit/lib/${part%%.so.*}.so ]] || ln -s "$part" "$dir/toolkit/lib/${part%%.so.*}.so"
  done
  [[ -n $(version_of "$dir/toolkit") ]] || { say "the assembled nvcc does not run"; exit 1; }
  printf '%s' "$stamp" >"$dir/.stamp"
  say "CUDA $(version_of "$dir/toolkit") is in $dir/toolkit"
}

dir=${1:-${WEFT_HOME:-.weft}/cuda}
[[ $dir == /* ]] || dir=$PWD/$dir
if [[ ${WEFT_CUDA_ASSEMBLE:-0} != 1 ]] && on_machine; then
  exit 0
fi
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9  # two callers at once assemble it once
assemble "$dir"
printf '%s\n' "$dir/toolkit"
