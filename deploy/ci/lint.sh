#!/usr/bin/env bash
# lint.sh [BASE]: what CI checks besides the tests, on the files changed since BASE (default: the
# merge base with origin/main, else with main): clang-format, clang-tidy with warnings as errors, and
# the shell scripts. `lint.sh --all` takes every file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [[ ${1:-} == --all ]]; then
  mapfile -t changed < <(git ls-files)
else
  base=${1:-$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main)}
  if git cat-file -e "$base^{commit}" 2>/dev/null; then
    mapfile -t changed < <(git diff --name-only --diff-filter=d "$base" --; git ls-files -o --exclude-standard)
  else  # a branch's first push, or its history was rewritten
    mapfile -t changed < <(git ls-files)
  fi
fi

sources=() headers=() scripts=()
for file in "${changed[@]}"; do
  [[ -f $file ]] || continue
  case $file in
    *.cc | *.cu) sources+=("$file") ;;
    *.h | *.cuh) headers+=("$file") ;;
    *.sh | weft | .ci/run) scripts+=("$file") ;;
  esac
done

failed=0
if ((${#sources[@]} + ${#headers[@]})); then
  echo "clang-format: $((${#sources[@]} + ${#headers[@]})) files"
  clang-format --dry-run -Werror "${sources[@]}" "${headers[@]}" || failed=1
fi
if ((${#scripts[@]})); then
  echo "shellcheck: ${#scripts[@]} files"
  shellcheck "${scripts[@]}" || failed=1
fi
# clang-tidy reads headers through the sources that include them.
if ((${#headers[@]})) && [[ ${1:-} != --all ]]; then
  for header in "${headers[@]}"; do
    mapfile -t users < <(git grep -lF "#include \"$header\"" -- '*.cc' | head -n 3)
    sources+=("${users[@]}")
  done
  mapfile -t sources < <(printf '%s\n' "${sources[@]}" | sort -u | sed '/^$/d')
fi
if ((${#sources[@]})); then
  [[ -f build/dev/compile_commands.json ]] || ./weft build --preset dev
  # Only what the build compiles: GPU sources need a toolkit that is not there.
  compiled=()
  for file in "${sources[@]}"; do
    grep -qF "\"$PWD/$file\"" build/dev/compile_commands.json && compiled+=("$file")
  done
  echo "clang-tidy: ${#compiled[@]} files"
  if ((${#compiled[@]})); then
    printf '%s\0' "${compiled[@]}" |
      xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/dev --quiet --warnings-as-errors='*' || failed=1
  fi
fi
exit "$failed"
