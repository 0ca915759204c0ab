#!/usr/bin/env python3
"""changelog.py [--to REV] [--since REV]: what changed since the last tag vX.Y.Z before REV (default: HEAD; without a tag, since the
beginning), as Markdown: each commit's first line, under the part of the tree that it changes most."""

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

PARTS = {  # first folder that fits, in the order of the headings
    "Contracts": ("proto/",), "Services": ("services/",), "Engine and libraries": ("libs/",),
    "Deployment": ("deploy/", "helm/", ".github/", "weft"), "Documents": ("docs/", "README.md"), "Tests and benchmarks": ("tests/", "bench/"),
}


def git(*args: str) -> str:
    done = subprocess.run(["git", *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"changelog: git {args[0]}: {done.stderr.strip()}")
    return done.stdout


def last_tag(revision: str) -> str | None:
    """The newest release before `revision`, not a tag of that very commit."""
    own = set(git("tag", "--points-at", revision).split())
    for tag in git("tag", "--merged", revision, "--sort=-version:refname").split():
        if re.fullmatch(r"v\d+\.\d+\.\d+", tag) and tag not in own:
            return tag
    return None


def part(files: list[str]) -> str:
    count = Counter()
    for file in files:
        for name, folders in PARTS.items():
            if any(file.startswith(f) if f.endswith("/") else file == f for f in folders):
                count[name] += 1
                break
    # Tests and documents come with what they are about.
    leading = {n: c for n, c in count.items() if n not in ("Documents", "Tests and benchmarks")} or count
    return max(PARTS, key=lambda name: leading.get(name, 0)) if leading else "Other"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="HEAD")
    parser.add_argument("--since", help="default: the last release")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    since = arguments.since or last_tag(arguments.to)
    log = git("log", "--no-merges", "--reverse", "--name-only", "--format=%x00%h%x01%s%x01", f"{since}..{arguments.to}" if since else arguments.to)
    sections: dict[str, list[str]] = {}
    for entry in log.split("\0")[1:]:
        short, subject, files = entry.split("\1")
        sections.setdefault(part(files.split()), []).append(f"- {subject} ({short})")
    lines = [f"Changes since {since}." if since else "All changes so far."]
    for name in [*PARTS, "Other"]:
        if name in sections:
            lines += ["", f"## {name}", "", *sections[name]]
    text = "\n".join(lines) + "\n"
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
