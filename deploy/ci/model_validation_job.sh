#!/usr/bin/env bash
# model_validation_job.sh [--workers N]: starts the mesh with its default model, as ./weft up does, tries it (smoke.py) and validates
# the model (model_validation.py); the reports are in build/reports. Leaves a mesh alone that runs already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! ./weft status >/dev/null 2>&1; then
  ./weft up --detach "$@"
  trap './weft down' EXIT
fi
url=${WEFT_URL:-http://127.0.0.1:8080} key=${WEFT_HOME:-.weft}/admin.key
deploy/ci/smoke.py "$url" --key-file "$key" --wait 60
deploy/ci/model_validation.py "$url" --key-file "$key" --out build/reports
