#!/usr/bin/env bash
# Puts promtool and amtool into DIR (default: ${WEFT_CACHE:-$HOME/.cache/weft}/prometheus), out of the Debian packages
# prometheus and prometheus-alertmanager, without installing these: a test machine needs no daemon. Prints DIR. What is
# on the PATH already is used as it is. Needs apt once.
#
#   deploy/tools/get_prometheus_tools.sh [DIR]
set -euo pipefail

folder=${1:-${WEFT_CACHE:-$HOME/.cache/weft}/prometheus}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

known() { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

get() {  # TOOL PACKAGE
  local tool=$1 package=$2 found work
  [[ -x $folder/$tool ]] && return
  if found=$(command -v "$tool"); then
    ln -sfn "$found" "$folder/$tool"
    return
  fi
  command -v apt-get >/dev/null || { echo "get_prometheus_tools: install $tool ($package); there is no apt here" >&2; exit 1; }
  known "$package" || known "$tool" || apt-get update -qq >&2
  known "$tool" && package=$tool  # Debian 13 has promtool in a package of its own
  work=$(mktemp -d)
  chmod 755 "$work"
  echo "get_prometheus_tools: fetching $tool from the package $package" >&2
  (cd "$work" && apt-get download -qq "$package" >&2)
  dpkg-deb -x "$work"/*.deb "$work/root"
  mv -f "$work/root/usr/bin/$tool" "$folder/$tool"
  rm -rf "$work"
}

get promtool prometheus
get amtool prometheus-alertmanager
echo "$folder"
