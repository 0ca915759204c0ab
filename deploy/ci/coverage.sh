#!/usr/bin/env bash
# coverage.sh [--least PERCENT] [--build DIR]: builds preset coverage, runs the unit and integration tests and the fuzz corpora
# in it, and fails when they run less than PERCENT (80) of the lines of libs and services. The reports are in build/reports:
# coverage.txt, coverage.xml (Cobertura), coverage.json. With --build nothing is built or run: DIR holds what a run left, and
# its sources are below the folder that the caller stands in. Needs gcovr.
set -euo pipefail
least=80 build="" sources=$PWD
while (($#)); do
  case $1 in
    --least) least=$2; shift ;;
    --build) build=$2; shift ;;
    *) echo "coverage: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
if [[ -z $build ]]; then
  cd "$(dirname "${BASH_SOURCE[0]}")/../.."
  sources=$PWD build=build/coverage
  if ! command -v gcovr >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcovr
  fi
  ./weft build --preset coverage
  find "$build" -name '*.gcda' -delete
  # A test that fails is what the test jobs are for; here it must not hide what the others cover.
  ctest --test-dir "$build" -L '^(unit|integration|fuzz)$' -LE '^full$' -j"$(nproc)" --output-on-failure
fi
mkdir -p build/reports
gcovr --root "$sources" --object-directory "$build" --filter '(.*/)?libs/' --filter '(.*/)?services/' \
  --exclude-throw-branches --gcov-ignore-parse-errors --fail-under-line "$least" --txt build/reports/coverage.txt --print-summary \
  --xml build/reports/coverage.xml --json-summary build/reports/coverage.json "$build" ||
  { echo "coverage: below $least % of the lines (build/reports/coverage.txt)" >&2; exit 1; }
