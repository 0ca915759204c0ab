#!/usr/bin/env bash
# images.sh: the images that the Dockerfile makes, one a line: its targets besides the stages that build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
sed -nE 's/^FROM base AS ([a-z-]+)$/\1/p' deploy/docker/Dockerfile
