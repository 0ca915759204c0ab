#!/usr/bin/env python3
"""Two tenants, one floods: how much later the other one's first tokens come."""

import argparse
import json
import time
from pathlib import Path

from stage import BIN_DIR, MODEL, ROOT, STEP_US, Mesh, provenance, result_of, summary

# The flood's requests wait at the scheduler, not at a limit of its tenant.
SETTINGS = {"gateway.http.max_streams": 4096}


def measure(mesh: Mesh, key: str, options: argparse.Namespace) -> dict:
    """First tokens of the quiet tenant: Poisson arrivals, an open loop."""
    return mesh.load("latency", key, rate=options.rate, requests=options.requests, tokens=options.tokens,
                     step_us=STEP_US)["first_token_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=BIN_DIR)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200, help="of the quiet tenant, in each phase")
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--tokens", type=int, default=8, help="of the quiet tenant's answers")
    parser.add_argument("--flood", type=int, default=256, help="requests of the other tenant at once")
    parser.add_argument("--flood-tokens", type=int, default=64)
    parser.add_argument("--sequences", type=int, default=64, help="that the worker runs at once")
    parser.add_argument("--reserve", type=int, default=10, help="scheduler.reserve_percent")
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_fairness.json")
    options = parser.parse_args()
    alone, beside, flood_first, answers = [], [], [], 0
    with Mesh(options.bin_dir, options.model, worker_flags=["--max-sequences", str(options.sequences)],
              settings=SETTINGS, scheduler_settings={"scheduler.reserve_percent": options.reserve}) as mesh:
        quiet, noisy = (mesh.make_key(tenant) for tenant in ("quiet", "noisy"))
        measure(mesh, quiet, argparse.Namespace(**{**vars(options), "requests": 20}))  # warm up
        seconds = round(options.requests / options.rate) + 3
        for _ in range(options.rounds):
            alone.append(measure(mesh, quiet, options))
            flood = mesh.start_load("flood", noisy, streams=options.flood, tokens=options.flood_tokens, seconds=seconds)
            time.sleep(1.5)  # the worker is full then
            beside.append(measure(mesh, quiet, options))
            was = result_of(flood)
            flood_first.append(was["first_token_ms"])
            answers += was["requests"]

    result = {**provenance(), "rounds": options.rounds, "step_ms": STEP_US / 1000, "quiet_requests_per_s": options.rate,
              "quiet_requests_per_phase": options.requests, "flood_requests_at_once": options.flood,
              "flood_tokens_each": options.flood_tokens, "worker_sequences": options.sequences,
              "scheduler_reserve_percent": options.reserve, "flood_answers": answers}
    for name, runs in (("alone_ms", alone), ("beside_flood_ms", beside), ("flood_ms", flood_first)):
        result[name] = {q: summary([run[q] for run in runs], 2) for q in ("p50", "p90", "p99", "max")}
    for q in ("p50", "p99"):
        result[f"{q}_ratio"] = summary([b[q] / a[q] for a, b in zip(alone, beside)])
    print(f"first token of the quiet tenant, ms: alone p50 {result['alone_ms']['p50']['median']}, "
          f"p99 {result['alone_ms']['p99']['median']}; beside {options.flood} requests at once of another "
          f"p50 {result['beside_flood_ms']['p50']['median']}, p99 {result['beside_flood_ms']['p99']['median']}: "
          f"p99 ratio {result['p99_ratio']}; the flood's own p50 {result['flood_ms']['p50']['median']}")
    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
