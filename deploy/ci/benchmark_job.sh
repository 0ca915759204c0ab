#!/usr/bin/env bash
# benchmark_job.sh [REV]: builds the engine of REV (default: the last release before HEAD) and of this checkout, runs both in turns on this
# machine, and fails when a speed is more than 10 % lower or memory more than 10 % higher. The table is build/reports/benchmark.md.
# Without a release there is nothing to compare with: it says so and is content.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
git config --get-all safe.directory | grep -qxF "$PWD" || git config --global --add safe.directory "$PWD"
revision=${1:-}
if [[ -z $revision ]]; then
  revision=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)
  [[ -n $revision ]] || { echo "benchmark_job: no release to compare with"; exit 0; }
fi
base=build/benchmark-base
rm -rf "$base"
git worktree prune
git worktree add --detach --force "$base" "$revision"
trap 'git worktree remove --force "$base"' EXIT
(cd "$base" && ./weft build --preset release)
./weft build --preset release
model=${WEFT_MODEL:-}
if [[ -z $model ]]; then  # the launcher's: it comes with the first start
  ./weft up --detach
  ./weft down
  model=$(compgen -G ".weft/models/*.gguf" | head -n 1)
fi
deploy/ci/bench_pair.sh "$base/build/release/bin/weftctl" build/release/bin/weftctl "$model" build/reports/benchmark
deploy/ci/bench_ratio.py build/reports/benchmark/base build/reports/benchmark/head --out build/reports/benchmark.md
