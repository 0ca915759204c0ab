#!/usr/bin/env bash
# smoke_job.sh URL: smoke.py with the key of WEFT_API_KEY; a new deployment has 120 s to become healthy.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/smoke.py" "${1:?smoke_job: a URL}" --wait 120
