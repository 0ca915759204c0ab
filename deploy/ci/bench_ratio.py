#!/usr/bin/env python3
"""bench_ratio.py BASE HEAD [--allow PERCENT] [--out FILE.md]: is HEAD slower than BASE?

BASE and HEAD are folders with one JSON file a run, as `weftctl bench --json` prints them, taken in turns on one machine. For each
speed (tokens a second: prefill, decode, each batch) and the memory the medians are compared; the median tells runs that something
else disturbed from a change that is there in all. Exits 1 when one is more than PERCENT (10) worse."""

import argparse
import json
import statistics
import sys
from pathlib import Path


def speeds(run: dict) -> dict[str, float]:
    """What is better when larger; memory as its reciprocal."""
    told = {"prefill": run["prefill_tok_s"], "decode": run["decode_tok_s"], "1 / memory": 1e9 / run["peak_rss_bytes"]}
    return told | {f"{b['n']} sequences": b["tok_s"] for b in run["batch"]}


def medians(folder: Path) -> dict[str, float]:
    runs = [speeds(json.loads(f.read_text())) for f in sorted(folder.glob("*.json"))]
    if not runs:
        raise SystemExit(f"bench_ratio: there is no run in {folder}")
    return {name: statistics.median(r[name] for r in runs) for name in runs[0] if all(name in r for r in runs)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("head", type=Path)
    parser.add_argument("--allow", type=float, default=10, metavar="PERCENT")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    base, head = medians(arguments.base), medians(arguments.head)
    lines, worse = ["| | base | head | ratio | |", "|---|---|---|---|---|"], 0
    for name in base:
        if name not in head:
            print(f"bench_ratio: {name} is measured in {arguments.base} alone", file=sys.stderr)
            worse += 1
            continue
        ratio = head[name] / base[name]
        bad = ratio < 1 - arguments.allow / 100
        worse += bad
        lines.append(f"| {name} | {base[name]:.2f} | {head[name]:.2f} | {ratio:.3f} | {'WORSE' if bad else ''} |")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
