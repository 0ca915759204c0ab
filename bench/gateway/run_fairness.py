#!/usr/bin/env python3
"""Two tenants, one floods: how much later the other one's first tokens come."""

import argparse
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from run_latency import Mesh, ROOT, STEP_US, free_port  # noqa: F401


def make_key(port: int, admin: str, tenant: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/keys", json.dumps({"name": tenant, "tenant": tenant,
                                                       "requests_per_minute": 1_000_000}),
                       {"Authorization": f"Bearer {admin}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    assert answer.status == 201, body
    return body["secret"]


def first_token_ms(port: int, key: str, tokens: int, stop: threading.Event | None = None) -> float:
    """Of one streamed answer, which is read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    body = json.dumps({"model": "", "prompt": "words", "max_tokens": tokens, "stream": True, "ignore_eos": True})
    begin = time.monotonic()
    first = 0.0
    connection.request("POST", "/v1/completions", body.replace('"model": "", ', ""),
                       {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        answer.read()
        return -1
    for line in answer:
        if line.startswith(b"data: {") and not first:
            first = (time.monotonic() - begin) * 1e3
        if stop is not None and stop.is_set():
            break
    connection.close()
    return first


def measure(port: int, key: str, requests: int, rate: float, tokens: int) -> list[float]:
    """Poisson arrivals, each on a connection of its own."""
    times: list[float] = []
    threads = []
    dice = random.Random(1)
    for _ in range(requests):
        thread = threading.Thread(target=lambda: times.append(first_token_ms(port, key, tokens)))
        thread.start()
        threads.append(thread)
        time.sleep(dice.expovariate(rate))
    for thread in threads:
        thread.join()
    assert all(t > 0 for t in times), "a request of the quiet tenant failed"
    return sorted(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=os.environ.get("WEFT_BIN_DIR", ROOT / "build/bench/bin"))
    parser.add_argument("--model", default=os.environ.get(
        "WEFT_MODEL", str(ROOT / ".weft/models/SmolLM2-135M-Instruct.Q4_1.gguf")))
    parser.add_argument("--requests", type=int, default=150, help="of the quiet tenant, in each phase")
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--flood", type=int, default=48, help="requests of the other tenant at once")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--worker-flag", action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with Mesh(options.bin_dir, options.model, False, options.worker_flag) as mesh:
        quiet, noisy = (make_key(mesh.port, mesh.key, tenant) for tenant in ("quiet", "noisy"))
        measure(mesh.port, quiet, 20, options.rate, options.tokens)  # warm up
        alone = measure(mesh.port, quiet, options.requests, options.rate, options.tokens)
        stop = threading.Event()
        served = [0]

        def flood() -> None:
            while not stop.is_set():
                if first_token_ms(mesh.port, noisy, options.tokens, stop) > 0:
                    served[0] += 1
                else:
                    time.sleep(0.01)

        threads = [threading.Thread(target=flood) for _ in range(options.flood)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        beside = measure(mesh.port, quiet, options.requests, options.rate, options.tokens)
        stop.set()
        for thread in threads:
            thread.join()

    def at(values: list[float], q: float) -> float:
        return values[round(q * (len(values) - 1))]

    result = {"alone_ms": {q: round(at(alone, p), 2) for q, p in (("p50", .5), ("p99", .99))},
              "beside_flood_ms": {q: round(at(beside, p), 2) for q, p in (("p50", .5), ("p99", .99))},
              "flood_answers": served[0], "step_ms": STEP_US / 1000,
              "p99_ratio": round(at(beside, .99) / at(alone, .99), 3),
              "p50_ratio": round(statistics.median(beside) / statistics.median(alone), 3),
              "command": " ".join(sys.argv),
              "commit": subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                       text=True).stdout.strip()}
    print(f"first token of the quiet tenant, ms: alone p50 {result['alone_ms']['p50']}, p99 {result['alone_ms']['p99']}; "
          f"beside {options.flood} requests at once of another p50 {result['beside_flood_ms']['p50']}, "
          f"p99 {result['beside_flood_ms']['p99']}: p99 ratio {result['p99_ratio']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
