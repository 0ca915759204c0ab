# Sourced by the scripts that change a cluster: helm of version 3.18 or later, reached with the kubeconfig in KUBECONFIG, or, as CI has
# it, in the variable KUBECONFIG_DATA (its text); values from WEFT_VALUES_FILE, or WEFT_VALUES (their text).
# shellcheck shell=bash
helm=${WEFT_HELM:-$(deploy/tools/get_helm.sh)}
namespace=${WEFT_NAMESPACE:-weft}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -n ${KUBECONFIG_DATA:-} ]]; then
  (umask 077 && printf '%s\n' "$KUBECONFIG_DATA" >"$work/kubeconfig")
  export KUBECONFIG=$work/kubeconfig
fi
values=()
if [[ -n ${WEFT_VALUES_FILE:-} ]]; then values=(--values "$WEFT_VALUES_FILE"); fi
if [[ -n ${WEFT_VALUES:-} ]]; then
  printf '%s\n' "$WEFT_VALUES" >"$work/values.yaml"
  values=(--values "$work/values.yaml")
fi

# install RELEASE VERSION TIMEOUT [OPTION…]: installs or upgrades, waits until everything is ready, and goes back by itself when it is not.
install() {
  local release=$1 version=$2 timeout=$3 back=--atomic chart=${WEFT_CHART:-helm/weft} pick=()
  shift 3
  if "$helm" upgrade --help | grep -q -- --rollback-on-failure; then back=--rollback-on-failure; fi  # helm 4's name of it
  if [[ $chart == oci://* ]]; then pick=(--version "$version"); fi
  "$helm" upgrade --install "$release" "$chart" "${pick[@]}" --namespace "$namespace" --create-namespace --wait "$back" \
    --timeout "$timeout" --values helm/weft/values/prod.yaml "${values[@]}" --set-string "image.tag=$version" "$@"
}
