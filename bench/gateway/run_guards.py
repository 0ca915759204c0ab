#!/usr/bin/env python3
"""What identity, limits and audit add to a request: limits counted in the process, and in Redis."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from stage import BIN_DIR, ROOT, Stage, provenance, summary


def measure(bin_dir: Path, redis: bool, options: argparse.Namespace) -> dict:
    with Stage() as stage:
        argv = [bin_dir / "bench_guards", "--folder", stage.home, "--rate", options.rate, "--seconds", options.seconds,
                "--threads", options.threads]
        if redis:
            argv += ["--redis", stage.start_redis()]
        out = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(f"bench_guards failed: {out.stderr}")
        return json.loads(out.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=BIN_DIR)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_guards.json")
    options = parser.parse_args()
    cases = {"in_process": False, "redis": True}
    runs: dict = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, redis in cases.items():
            runs[name].append(measure(options.bin_dir, redis, options))
    result: dict = {**provenance(), "rounds": options.rounds, "requests_per_s": options.rate, "threads": options.threads}
    parts = [part for part in runs["redis"][0] if part.endswith("_us")]
    for name, some in runs.items():
        result[name] = {"requests": sum(one["requests"] for one in some)} | {
            part: {q: summary([one[part][q] for one in some], 1) for q in some[0][part]} for part in parts}
        print(name + ", us: " + ", ".join(
            f"{part[:-3]} p50 {result[name][part]['p50']['median']} p99 {result[name][part]['p99']['median']}"
            for part in parts))
    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
