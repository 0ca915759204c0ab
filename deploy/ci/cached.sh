#!/usr/bin/env bash
# cached.sh COMMAND…: runs it with the compiler cache and the fetched tools below .cache, which CI keeps between runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CCACHE_DIR=$PWD/.cache/ccache CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-1G} WEFT_CACHE=$PWD/.cache/weft
exec "$@"
