#!/usr/bin/env bash
# lint_job.sh [BASE]: installs the linters, builds what clang-tidy needs to know, and runs lint.sh and lint_texts.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
missing=()
for entry in clang-format clang-tidy shellcheck node:nodejs npm; do
  command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
# In a container the checkout belongs to another user than the one who runs.
git config --get-all safe.directory | grep -qxF "$PWD" || git config --global --add safe.directory "$PWD"
WEFT_ACTIONLINT=go deploy/ci/lint_texts.sh "$@"
./weft build --preset dev
exec deploy/ci/lint.sh "$@"
