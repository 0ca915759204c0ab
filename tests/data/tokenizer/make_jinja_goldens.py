#!/usr/bin/env python3
"""Writes jinja_cases.json: templates, variables and what jinja2 makes of them.

The environment is the one in which transformers renders chat templates. A case is the indices of
its template and its variables and the output, which is absent when jinja2 refuses the case.

Needs: pip install jinja2. Run from the repository root.
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jinja_cases import CHATS, EXPRESSIONS, STATEMENTS, TEMPLATES

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


def main():
    variables, templates, cases = [], [], []

    def index(items, item):
        if item not in items:
            items.append(item)
        return items.index(item)

    def add(template, values):
        out = render(template, values)
        cases.append([index(templates, template), index(variables, values)]
                     + ([out] if out is not None else []))

    for template, values in EXPRESSIONS + STATEMENTS:
        add(template, values)
    for name in sorted(TEMPLATES):
        for values in CHATS:
            add(TEMPLATES[name], values)

    def rows(items):
        return ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items)

    text = "".join(f'"{name}":[\n{rows(items)}\n]{end}' for name, items, end in (
        ("variables", variables, ",\n"), ("templates", templates, ",\n"), ("cases", cases, "\n")))
    (HERE / "jinja_cases.json").write_text("{\n" + text + "}\n", encoding="utf-8")
    failed = sum(len(case) == 2 for case in cases)
    print(f"{len(cases)} cases, {failed} of them errors")


main()
