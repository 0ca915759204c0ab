#!/usr/bin/env bash
# python.sh: prints the path of a Python with the packages of tests/requirements.txt: the one that ./weft test made when it
# has this list, else one in ${WEFT_CACHE:-$HOME/.cache/weft}/ci-python, made once for each list. Messages go to stderr.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

stamp=$(sha256sum tests/requirements.txt | cut -d' ' -f1)
own=${WEFT_HOME:-$PWD/.weft}/venv
if [[ -x $own/bin/python && $(cat "$own/.stamp" 2>/dev/null) == "$stamp" ]]; then
  echo "$own/bin/python"
  exit 0
fi
folder=${WEFT_CACHE:-$HOME/.cache/weft}/ci-python
mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9 # two callers at once make it once
venv=$folder/${stamp:0:16}
if [[ ! -f $venv/.stamp ]]; then
  echo "python: installing tests/requirements.txt into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt >&2
  echo "$stamp" >"$venv/.stamp"
fi
echo "$venv/bin/python"
