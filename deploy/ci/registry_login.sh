#!/usr/bin/env bash
# registry_login.sh HOST USER: docker and helm sign in at a registry; the password is REGISTRY_TOKEN.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
host=${1:?registry_login: a host} user=${2:?registry_login: a user}
: "${REGISTRY_TOKEN:?registry_login: no token}"
docker login "$host" --username "$user" --password-stdin <<<"$REGISTRY_TOKEN"
"$(deploy/tools/get_helm.sh)" registry login "$host" --username "$user" --password-stdin <<<"$REGISTRY_TOKEN"
