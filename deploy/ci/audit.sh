#!/usr/bin/env bash
# audit.sh: known faults in what tests and tools are made of: the Python packages of tests/requirements.txt (pip-audit) and the Node
# packages of the end-to-end tests (npm audit, high and above). Weft itself links the distribution's libraries: those are in the
# images' SBOMs, which scan_images.sh looks through. Needs the package indexes' lists of faults; reports are in build/reports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${WEFT_CACHE:-$HOME/.cache/weft}/pip-audit
version=2.10.1
if [[ ! -x $folder/$version/bin/pip-audit ]]; then
  mkdir -p "$folder"
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "pip-audit==$version" >&2
fi
mkdir -p build/reports
failed=0
echo "audit: Python"
"$folder/$version/bin/pip-audit" -r tests/requirements.txt --disable-pip --no-deps --format json --output build/reports/audit_python.json || failed=1
echo "audit: Node"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp tests/e2e/node/package.json "$work/"
(cd "$work" && npm install --package-lock-only --ignore-scripts --silent --no-fund >&2 && npm audit --audit-level=high --json) \
  >build/reports/audit_node.json || failed=1
exit "$failed"
