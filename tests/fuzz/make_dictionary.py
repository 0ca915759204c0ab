#!/usr/bin/env python3
"""A libFuzzer dictionary from the words that a parser's sources look for.

  make_dictionary.py [--json] SOURCE… > NAME.dict      build/fuzz/bin/fuzz_NAME -dict=NAME.dict …

Every string literal that looks like a key or a name becomes an entry; with --json it is quoted, and
JSON's own signs are added.
"""
import argparse
import pathlib
import re

JSON_SIGNS = ["{", "}", "[", "]", ":", ",", '"', "true", "false", "null", "-1", "0.5", "1e999", "4294967296",
              "\\u0000"]


def words(sources):
    found = set()
    for source in sources:
        code = re.sub(r"//[^\n]*|#include[^\n]*", "", source.read_text(encoding="utf-8"))
        found.update(re.findall(r'"([A-Za-z_][A-Za-z0-9_.\-]{1,40})"', code))
    return sorted(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("sources", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    entries = words(options.sources)
    if options.json:
        entries = [f'"{word}"' for word in entries] + JSON_SIGNS
    for entry in entries:
        print('"' + entry.replace("\\", "\\\\").replace('"', '\\"') + '"')


if __name__ == "__main__":
    main()
