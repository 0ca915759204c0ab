#!/usr/bin/env bash
# sign.sh images NAME@DIGEST…   signs images and charts in their registry
# sign.sh file FILE             writes FILE.sigstore.json beside it
#
# cosign signs without a key of ours: with the identity that CI (id-token) or the person at the browser has. What is signed can be
# checked with: cosign verify NAME@DIGEST --certificate-identity-regexp … --certificate-oidc-issuer …
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cosign=$(deploy/tools/go_tool.sh cosign)
command=${1:-}
shift || true
case $command in
  images) for image in "$@"; do "$cosign" sign --yes "$image"; done ;;
  file) "$cosign" sign-blob --yes --bundle "${1:?sign: a file}.sigstore.json" "$1" ;;
  *) echo "sign: images or file" >&2; exit 2 ;;
esac
