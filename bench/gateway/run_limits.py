#!/usr/bin/env python3
"""Three real gateways over one Redis under 1,000 requests/s: how near the admitted ones are to the limit."""

import argparse
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gateways:
    def __init__(self, bin_dir: Path, count: int, limit: int, redis: bool):
        self.home = Path(tempfile.mkdtemp(prefix="weft-bench-", dir="/tmp"))
        self.processes: list[subprocess.Popen] = []
        self.ports = [free_port() for _ in range(count)]
        url = ""
        if redis:
            self.start("redis", [shutil.which("redis-server") or "redis-server", "--port", "0", "--save", "",
                                 "--unixsocket", str(self.home / "redis.sock"), "--dir", str(self.home)])
            url = f"unix://{self.home}/redis.sock"
        made = subprocess.run([bin_dir / "weftctl", "keys", "generate", "--name", "bench", "--requests-per-minute",
                               "1000000", "--file", self.home / "keys.json"], capture_output=True, text=True, check=True)
        self.key = made.stdout.strip()
        for i, port in enumerate(self.ports):
            sets = {"gateway.listen": f"127.0.0.1:{port}", "gateway.grpc_listen": f"127.0.0.1:{free_port()}",
                    "gateway.admin_listen": f"127.0.0.1:{free_port()}", "gateway.database": self.home / f"{i}.db",
                    "gateway.keys_file": self.home / "keys.json", "gateway.scheduler": "127.0.0.1:1",
                    "gateway.scanner": "",
                    "gateway.limits.global.requests_per_minute": 0, "telemetry.traces.enabled": "false",
                    "telemetry.log_level": "warning", "gateway.limits.tenant.requests_per_second": limit}
            environment = {**os.environ, "REDIS_URL": url}
            argv = [str(bin_dir / "weft-gateway")]
            for key, value in sets.items():
                argv += ["--set", f"{key}={value}"]
            self.start(f"gateway{i}", argv, environment)
        deadline = time.monotonic() + 60
        for i, port in enumerate(self.ports):
            while True:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("GET", "/health")
                    connection.getresponse().read()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        sys.exit((self.home / f"gateway{i}.log").read_text())
                    time.sleep(0.05)

    def start(self, name: str, argv: list[str], environment: dict | None = None) -> None:
        with open(self.home / f"{name}.log", "w") as log:
            self.processes.append(subprocess.Popen(argv, stdout=log, stderr=log, env=environment))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.home, ignore_errors=True)


def run(gateways: Gateways, rate: float, seconds: float) -> dict:
    """Each gateway gets its share of `rate` over two connections, evenly paced."""
    connections = 2
    outcomes: list[tuple[int, float, float]] = []  # status, when it was answered, how long it took
    lock = threading.Lock()
    begin = time.monotonic() + 0.2
    gap = len(gateways.ports) * connections / rate

    def client(port: int, offset: float) -> None:
        mine = []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Authorization": f"Bearer {gateways.key}"}
        at = begin + offset
        while at < begin + seconds:
            wait = at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            sent = time.monotonic()
            connection.request("GET", "/v1/models", headers=headers)
            answer = connection.getresponse()
            answer.read()
            now = time.monotonic()
            mine.append((answer.status, now, now - sent))
            at += gap
        with lock:
            outcomes.extend(mine)

    threads = [threading.Thread(target=client, args=(port, gap * (i * connections + c) / (len(gateways.ports) * connections)))
               for i, port in enumerate(gateways.ports) for c in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admitted = sorted(at for status, at, _ in outcomes if status == 200)
    other = {str(status) for status, _, _ in outcomes} - {"200", "429"}
    assert not other, f"unexpected answers: {other}"
    took = sorted(t for _, _, t in outcomes)
    return {"asked": len(outcomes), "asked_per_s": len(outcomes) / (max(at for _, at, _ in outcomes) - begin),
            "admitted": len(admitted), "span_s": admitted[-1] - admitted[0],
            "p50_ms": took[len(took) // 2] * 1e3, "p99_ms": took[int(len(took) * 0.99)] * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=os.environ.get("WEFT_BIN_DIR", ROOT / "build/bench/bin"))
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--limit", type=int, default=200, help="requests a second of the tenant")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    gateways = Gateways(options.bin_dir, options.gateways, options.limit, redis=True)
    try:
        result = run(gateways, options.rate, options.seconds)
    finally:
        gateways.stop()
    # The bucket is full at first and fills while it is used.
    result["expected"] = options.limit * (1 + result["span_s"])
    result["admitted_of_expected"] = result["admitted"] / result["expected"]
    result["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end"
    result["commit"] = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                      text=True).stdout.strip()
    result["command"] = " ".join(sys.argv)
    print(f"{options.gateways} gateways, {result['asked_per_s']:.0f} requests/s, limit {options.limit}/s: admitted "
          f"{result['admitted']} of {result['expected']:.0f} ({result['admitted_of_expected']:.4f}); "
          f"p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if abs(result["admitted_of_expected"] - 1) > 0.01:
        sys.exit("admitted more than 1 % beside the limit")


if __name__ == "__main__":
    main()
