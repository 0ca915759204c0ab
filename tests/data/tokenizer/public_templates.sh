#!/usr/bin/env bash
# Compares every *.jinja in a folder with jinja2: models' own chat templates, such as those in
# models/templates of llama.cpp. They are under their authors' licences, so that the repository
# holds none of them; those in jinja_families.py are ours and use the same constructs.
#   public_templates.sh TEST_TOKENIZER FOLDER     from the repository root, with jinja2 in $PYTHON
set -euo pipefail

test_tokenizer=$1
folder=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONDONTWRITEBYTECODE=1 "${PYTHON:-python3}" tests/data/tokenizer/make_jinja_goldens.py \
  --templates "$folder" --out "$work/cases.json"
WEFT_JINJA_CASES=$work/cases.json "$test_tokenizer" "Templates render as Python's jinja2 renders them"
