#!/usr/bin/env bash
# release_files_job.sh VERSION: release_files.sh on a bare Debian or Ubuntu, as root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 nodejs npm >/dev/null
exec deploy/ci/release_files.sh "${1:?release_files_job: a version}"
