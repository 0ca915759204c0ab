#!/usr/bin/env bash
# kernels_job.sh: CI's kernel job on a bare Debian or Ubuntu, as root: what check_kernels.py needs, then it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates g++ python3 python3-pip >/dev/null
exec deploy/ci/check_kernels.py
