#!/usr/bin/env python3
"""check_links.py [FILE…]: links of Markdown files that lead nowhere: to files that git does not know, and to headings
that are not there. Without files, all that git tracks. Addresses outside are only checked for being https. Prints one
line a finding, as FILE:LINE: …; exits 1 when there is any."""

import functools
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)")
LOCAL = ("localhost", "127.0.0.1")


@functools.cache
def known() -> frozenset[str]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(listed.stdout.splitlines())


def prose(path: Path):
    """Lines outside fenced code, with their numbers; code spans are blanked."""
    fence = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark and (fence is None or line.strip().startswith(fence)):
            fence = None if fence else mark[1]
        elif fence is None:
            yield number, re.sub(r"`[^`]*`", "``", line), line


@functools.cache
def anchors(path: Path) -> frozenset[str]:
    """The names that GitHub gives to a file's headings."""
    names, seen = set(), {}
    for _, _, line in prose(path):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            names.add(f"{slug}-{count}" if count else slug)
        names.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
    return frozenset(names)


def fault(path: Path, target: str) -> str | None:
    parts = urlsplit(target)
    if parts.scheme or target.startswith("//"):
        fine = parts.scheme in ("https", "mailto") or (parts.scheme == "http" and parts.hostname in LOCAL)
        return None if fine else "not https"
    there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not there.is_relative_to(ROOT):
        return "leads out of the repository"
    name = str(there.relative_to(ROOT))
    if name not in known() and not any(k.startswith(name + "/") for k in known()) and name != ".":
        return "git knows no such file"
    if parts.fragment and there.suffix == ".md" and parts.fragment not in anchors(there):
        return f"there is no heading #{parts.fragment}"
    return None


def main() -> int:
    files = [Path(a).resolve() for a in sys.argv[1:]] or [ROOT / n for n in sorted(known()) if n.endswith(".md")]
    count = found = 0
    for path in files:
        for number, text, _ in prose(path):
            targets = [m[1] for m in LINK.finditer(text)]
            reference = REFERENCE.match(text)
            for target in targets + ([reference[1]] if reference else []):
                count += 1
                wrong = fault(path, target)
                if wrong:
                    print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{number}: {target}: {wrong}")
                    found += 1
    if not found:
        print(f"check_links: {count} links in {len(files)} files are fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
