#!/usr/bin/env python3
"""Writes jinja_cases.json: templates, variables and what jinja2 makes of them.

With --templates DIR it writes the same about every *.jinja file in DIR to --out FILE: models'
own templates, which are not ours to commit. WEFT_JINJA_CASES=FILE makes test_tokenizer replay it
(public_templates.sh does both).

The environment is the one in which transformers renders chat templates. A case is the indices of
its template and its variables and the output, which is absent when jinja2 refuses the case.

Needs: pip install jinja2. Run from the repository root.
"""
import argparse
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jinja_cases import CHATS, EXPRESSIONS, STATEMENTS, TEMPLATES
from jinja_families import FAMILIES, MORE_CHATS

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 1, 31, 12, 0, 0)  # the clock of the C++ test


class Generation(jinja2.ext.Extension):
    """{% generation %} as transformers has it: the body is rendered."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda format: NOW.strftime(format)


def render(template, variables):
    try:
        return environment.from_string(template).render(**variables)
    except Exception:  # a golden only says that there is an error
        return None


class Cases:
    def __init__(self):
        self.variables, self.templates, self.cases = [], [], []

    def add(self, template, values):
        def index(items, item):
            if item not in items:
                items.append(item)
            return items.index(item)

        out = render(template, values)
        self.cases.append([index(self.templates, template), index(self.variables, values)]
                          + ([out] if out is not None else []))

    def write(self, path):
        def rows(items):
            return ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":"))
                              for item in items)

        text = "".join(f'"{name}":[\n{rows(items)}\n]{end}' for name, items, end in (
            ("variables", self.variables, ",\n"), ("templates", self.templates, ",\n"),
            ("cases", self.cases, "\n")))
        pathlib.Path(path).write_text("{\n" + text + "}\n", encoding="utf-8")
        failed = sum(len(case) == 2 for case in self.cases)
        print(f"{len(self.templates)} templates, {len(self.cases)} cases, {failed} of them errors")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path, help="a folder of *.jinja files")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "jinja_cases.json")
    args = parser.parse_args()
    cases = Cases()
    if args.templates:
        for path in sorted(args.templates.glob("*.jinja")):
            source = path.read_text(encoding="utf-8")
            for values in CHATS + MORE_CHATS:
                cases.add(source, values)
    else:
        for template, values in EXPRESSIONS + STATEMENTS:
            cases.add(template, values)
        for name in sorted(TEMPLATES):
            for values in CHATS:
                cases.add(TEMPLATES[name], values)
        for name in sorted(FAMILIES):
            for values in CHATS + MORE_CHATS:
                cases.add(FAMILIES[name], values)
    cases.write(args.out)


main()
