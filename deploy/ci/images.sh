#!/usr/bin/env bash
# images.sh [--cuda]: the images that the Dockerfile makes, one a line: its targets besides the stages that build. The one with CUDA's
# kernels, which takes a compiler of 1.5 GB to build, is named with --cuda alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
without='worker-cuda'
[[ ${1:-} == --cuda ]] && without='^$'
sed -nE 's/^FROM base AS ([a-z-]+)$/\1/p' deploy/docker/Dockerfile | grep -vx -- "$without"
