#!/usr/bin/env bash
# scan_secrets.sh [--history]: gitleaks over all files that git tracks, and with --history over every commit. Findings are in
# build/reports/secrets.sarif; exits 1 when there is any. What is an example by design is named in gitleaks.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
gitleaks=$(deploy/tools/go_tool.sh gitleaks)
mkdir -p build/reports
options=(--config deploy/ci/gitleaks.toml --redact --no-banner --exit-code 1 --report-format sarif --report-path build/reports/secrets.sarif)
if [[ ${1:-} == --history ]]; then
  exec "$gitleaks" git "${options[@]}" .
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$work"
options[1]=$PWD/deploy/ci/gitleaks.toml
report=$PWD/build/reports/secrets.sarif
options[${#options[@]} - 1]=$report
(cd "$work" && "$gitleaks" dir "${options[@]}" .)
