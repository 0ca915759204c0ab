#!/usr/bin/env python3
"""Requests a second of /health and of a 401, the gateway beside nginx, one thread each, alternating."""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} does not answer")


def start_nginx(home: Path, port: int) -> subprocess.Popen:
    error = ('{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error",'
             '"param":null,"code":"invalid_api_key"}}')
    (home / "nginx.conf").write_text(f"""
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/nginx.err;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port};
    location = /health {{ return 200 '{{"status":"healthy","model_loaded":false}}'; }}
    location = /v1/models {{ return 401 '{error}'; }}
  }}
}}
""")
    return subprocess.Popen(["nginx", "-p", str(home), "-c", str(home / "nginx.conf"), "-g", "daemon off;"],
                            stderr=subprocess.DEVNULL)


def start_gateway(binary: Path, home: Path, port: int) -> subprocess.Popen:
    sets = {"gateway.listen": f"127.0.0.1:{port}", "gateway.grpc_listen": f"127.0.0.1:{free_port()}",
            "gateway.admin_listen": f"127.0.0.1:{free_port()}", "gateway.database": home / "gateway.db",
            "gateway.scheduler": "127.0.0.1:1", "gateway.scanner": "", "gateway.http.threads": 1,
            "gateway.failed_auth.per_minute": 0,
            "telemetry.traces.enabled": "false", "telemetry.log_level": "error"}
    argv = [str(binary)]
    for key, value in sets.items():
        argv += ["--set", f"{key}={value}"]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wrk(url: str, seconds: int, connections: int, header: str | None) -> dict:
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if header:
        argv += ["-H", header]
    out = subprocess.run(argv + [url], capture_output=True, text=True, check=True).stdout
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}

    def percentile(name: str) -> float:
        number, kind = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(number) * unit[kind]

    return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "p50_ms": percentile("50"), "p99_ms": percentile("99")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    bin_dir = Path(os.environ.get("WEFT_BIN_DIR", ROOT / "build/bench/bin"))
    parser.add_argument("--bin", type=Path, default=bin_dir / "weft-gateway")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_http.json")
    options = parser.parse_args()
    for tool in ("wrk", "nginx"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    home = Path(tempfile.mkdtemp(prefix="weft-bench-"))
    ports = {"nginx": free_port(), "weft": free_port()}
    processes = [start_nginx(home, ports["nginx"]), start_gateway(options.bin, home, ports["weft"])]
    try:
        for port in ports.values():
            wait_for(f"http://127.0.0.1:{port}/health")
        cases = {"health": ("/health", None),
                 "unauthorized": ("/v1/models", "Authorization: Bearer weft_wrong")}
        samples: dict = {case: {server: [] for server in ports} for case in cases}
        for _ in range(options.rounds):
            for case, (path, header) in cases.items():
                for server, port in ports.items():
                    samples[case][server].append(
                        wrk(f"http://127.0.0.1:{port}{path}", options.seconds, options.connections, header))
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)
    result = {"commit": subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                       text=True).stdout.strip(),
              "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end, "
                         f"niceness {os.nice(0)}",
              "command": " ".join(sys.argv), "cases": {}}
    for case, servers in samples.items():
        ratios = [w["rps"] / n["rps"] for w, n in zip(servers["weft"], servers["nginx"])]
        result["cases"][case] = {
            server: {"rps": round(statistics.median(s["rps"] for s in runs)),
                     "p50_ms": round(statistics.median(s["p50_ms"] for s in runs), 3),
                     "p99_ms": round(statistics.median(s["p99_ms"] for s in runs), 3)}
            for server, runs in servers.items()}
        result["cases"][case]["weft_to_nginx"] = {
            "median": round(statistics.median(ratios), 3), "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3)}
    text = json.dumps(result, indent=2)
    print(text)
    options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
