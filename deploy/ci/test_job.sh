#!/usr/bin/env bash
# test_job.sh COMPILER [KIND…]: ./weft test on a bare Debian or Ubuntu, as root, with gcc or clang. Without kinds all of the fast
# suite; kinds (unit, integration, fuzz, e2e) one after another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compiler=${1:?test_job: gcc or clang}
shift
case $compiler in
  gcc) export CC=gcc CXX=g++ ;;
  clang)
    export CC=clang CXX=clang++
    if ! command -v clang++ >/dev/null; then
      apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang
    fi
    ;;
  *) echo "test_job: '$compiler' is neither gcc nor clang" >&2; exit 2 ;;
esac
(($#)) || exec ./weft test
for kind in "$@"; do ./weft test "$kind"; done
