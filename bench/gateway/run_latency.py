#!/usr/bin/env python3
"""Latency that the gateway, scheduler and scanner add to a request, and 256 SSE streams through them."""

import argparse
import json
from pathlib import Path

from stage import BIN_DIR, MODEL, ROOT, STEP_US, Mesh, provenance, summary

TOKENS = 16  # of a request of the latency part


def measure_latency(mesh: Mesh, requests: int, rate: int) -> dict:
    return mesh.load("latency", rate=rate, requests=requests, tokens=TOKENS, step_us=STEP_US)


def measure_streams(mesh: Mesh, streams: int, tokens: int) -> dict:
    before = mesh.cpu_seconds()
    result = mesh.load("streams", streams=streams, tokens=tokens)
    after = mesh.cpu_seconds()
    result["tokens_per_s"] = result["tokens"] / result["seconds"]
    result["engine_tokens_per_s"] = streams * 1e6 / STEP_US
    result["cpu_us_per_token"] = {name: (after[name] - before[name]) * 1e6 / result["tokens"] for name in before}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=BIN_DIR)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--stream-tokens", type=int, default=500)
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_latency.json")
    options = parser.parse_args()

    configurations = {"gateway + scheduler": False, "gateway + scheduler + scanner": True}
    latency: dict[str, list] = {name: [] for name in configurations}
    streams: dict[str, list] = {name: [] for name in configurations}
    for _ in range(options.rounds):  # alternating: the machine's mood hits both alike
        for name, scanner in configurations.items():
            with Mesh(options.bin_dir, options.model, scanner, ["--own-pace"]) as mesh:
                measure_latency(mesh, 100, options.rate)  # warm up
                latency[name].append(measure_latency(mesh, options.requests, options.rate))
            with Mesh(options.bin_dir, options.model, scanner, []) as mesh:
                measure_streams(mesh, options.streams, 50)
                streams[name].append(measure_streams(mesh, options.streams, options.stream_tokens))

    result: dict = {
        **provenance(),
        "rounds": options.rounds, "step_us": STEP_US,
        "added_latency_ms": {"rate": options.rate, "requests_per_round": options.requests, "tokens": TOKENS},
        "streams": {"streams": options.streams, "tokens_each": options.stream_tokens}}
    print(f"Added latency at {options.rate} req/s, Poisson arrivals, {TOKENS} tokens at {STEP_US / 1000:g} ms, ms")
    print(f"{'':32}{'first token':>22}{'whole answer':>24}")
    print(f"{'':32}{'p50':>11}{'p99':>11}{'p50':>13}{'p99':>11}   median of {options.rounds} rounds")
    for name, rounds in latency.items():
        row = {part: {q: summary([r[part][q] for r in rounds]) for q in ("p50", "p90", "p99", "max")}
               for part in ("first_token_ms", "whole_ms")}
        result["added_latency_ms"][name] = row
        cells = [row[part][q]["median"] for part in ("first_token_ms", "whole_ms") for q in ("p50", "p99")]
        print(f"{name:32}{cells[0]:11.2f}{cells[1]:11.2f}{cells[2]:13.2f}{cells[3]:11.2f}")
    print(f"\n{options.streams} SSE streams, a token each every {STEP_US / 1000:g} ms")
    for name, rounds in streams.items():
        row = {"tokens_per_s": summary([r["tokens_per_s"] for r in rounds], 0),
               "engine_tokens_per_s": rounds[0]["engine_tokens_per_s"],
               "events_per_token": summary([r["events"] / r["tokens"] for r in rounds]),
               "bytes_per_token": summary([r["bytes"] / r["tokens"] for r in rounds], 1),
               "cpu_us_per_token": {process: summary([r["cpu_us_per_token"][process] for r in rounds], 2)
                                    for process in rounds[0]["cpu_us_per_token"]}}
        result["streams"][name] = row
        cpu = ", ".join(f"{process} {value['median']:.2f}" for process, value in row["cpu_us_per_token"].items())
        print(f"{name}: {row['tokens_per_s']['median']:.0f} of {row['engine_tokens_per_s']:.0f} tokens/s delivered, "
              f"{row['events_per_token']['median']:.2f} events a token; CPU us a token: {cpu}")
    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
