#!/usr/bin/env bash
# make_config_reference.sh [BIN_DIR] > docs/configuration.md: every configuration key, as the
# binaries themselves describe it. A test compares.
set -euo pipefail
bin=${1:-build/dev/bin}
cat <<'TEXT'
# Configuration

One YAML file configures the whole mesh: a section for each service and `telemetry` for all of them.
`./weft up --config FILE` uses it; the default is [`deploy/dev/mesh.yaml`](../deploy/dev/mesh.yaml).

Later sources win: defaults, the file, environment variables, `--set section.key=value` on a service's
command line. A key that does not exist, a value of another type or out of its range is an error that
names file, line and what is allowed; nothing starts then. `weft-gateway --config FILE --print-config`
(and likewise for the others) shows the effective values with secrets masked.

Durations are written `250ms`, `30s`, `5m`; sizes `64KiB`, `1GiB`; addresses `host:port` or
`unix:/path`. `weftctl supervise` (which `./weft up` runs) fills in what depends on the state directory
`${WEFT_HOME:-.weft}` where the file says nothing: sockets, the database, the admin key file, the
collector's disk queue, the model's path, the list of workers, and the threads of each worker.

This page is made by `deploy/dev/make_config_reference.sh` from the binaries; a test compares them.
TEXT
# Every binary knows `telemetry`; it is printed once, at the end.
for service in gateway scheduler worker scanner collector; do
  reference=$("$bin/weft-$service" --config-reference)
  printf '\n%s\n' "${reference%%## \`telemetry\`*}" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
done
printf '\n%s\n' "## \`telemetry\`${reference#*## \`telemetry\`}"
