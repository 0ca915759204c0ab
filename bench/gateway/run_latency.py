#!/usr/bin/env python3
"""Latency that the gateway, scheduler and scanner add to a request, and 256 SSE streams through them."""

import argparse
import json
import os
import platform
import shutil
import signal
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
STEP_US = 10_000
TOKENS = 16  # of a request of the latency part
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mesh:
    """Gateway, scheduler, a paced worker and perhaps the scanner, for the length of a with block."""

    def __init__(self, bin_dir: Path, model: str, scanner: bool, worker_flags: list[str]):
        self.bin_dir, self.model, self.scanner, self.worker_flags = bin_dir, model, scanner, worker_flags
        self.home = Path(tempfile.mkdtemp(prefix="weft-bench-"))
        self.processes: dict[str, subprocess.Popen] = {}
        self.port = free_port()
        self.key = ""

    def start(self, name: str, argv: list[str]) -> None:
        with open(self.home / f"{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen(argv, stdout=log, stderr=log)

    def start_service(self, name: str, settings: dict) -> None:
        argv = [str(self.bin_dir / f"weft-{name}")]
        settings = {f"{name}.admin_listen": f"127.0.0.1:{free_port()}", "telemetry.traces.enabled": "false", **settings}
        for key, value in settings.items():
            argv += ["--set", f"{key}={value}"]
        self.start(name, argv)

    def __enter__(self) -> "Mesh":
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_all(self) -> None:
        sockets = {name: f"unix:{self.home}/{name}.sock" for name in ("worker", "scheduler", "scanner")}
        self.start("worker", [str(self.bin_dir / "bench_mesh"), "worker", "--listen", sockets["worker"], "--model",
                              self.model, "--step-us", str(STEP_US), *self.worker_flags])
        self.start_service("scheduler", {"scheduler.listen": sockets["scheduler"],
                                         "scheduler.workers": sockets["worker"]})
        if self.scanner:
            self.start_service("scanner", {"scanner.listen": sockets["scanner"]})
        self.start_service("gateway", {
            "gateway.listen": f"127.0.0.1:{self.port}", "gateway.grpc_listen": f"127.0.0.1:{free_port()}",
            "gateway.database": self.home / "gateway.db", "gateway.admin_key_file": self.home / "admin.key",
            "gateway.admin_requests_per_minute": 1_000_000, "gateway.scheduler": sockets["scheduler"],
            "gateway.limits.global.requests_per_minute": 0, "gateway.limits.global.concurrent": 0,
            "gateway.cache.enabled": "false",
            "gateway.scanner": sockets["scanner"] if self.scanner else ""})
        deadline = time.monotonic() + 60
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    sys.exit(f"{name} ended at its start:\n" + (self.home / f"{name}.log").read_text())
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=1).read()
                break
            except (urllib.error.HTTPError, OSError):
                if time.monotonic() > deadline:
                    sys.exit("the mesh does not get ready:\n" + (self.home / "gateway.log").read_text())
                time.sleep(0.1)
        self.key = (self.home / "admin.key").read_text().strip()

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def cpu_seconds(self) -> dict[str, float]:
        seconds = {}
        for name, process in self.processes.items():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds[name] = (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime of proc(5)
        return seconds

    def load(self, *argv: object) -> dict:
        command = [str(self.bin_dir / "bench_sse"), str(argv[0]), "--port", str(self.port), "--key", self.key]
        out = subprocess.run(command + [str(a) for a in argv[1:]], capture_output=True, text=True)
        if out.returncode != 0:
            sys.exit(f"bench_sse failed: {out.stderr}")
        return json.loads(out.stdout)


def summary(values: list[float], digits: int = 3) -> dict:
    return {"median": round(statistics.median(values), digits), "lowest": round(min(values), digits),
            "highest": round(max(values), digits)}


def measure_latency(mesh: Mesh, requests: int, rate: int) -> dict:
    return mesh.load("latency", "--rate", rate, "--requests", requests, "--tokens", TOKENS, "--step-us", STEP_US)


def measure_streams(mesh: Mesh, streams: int, tokens: int) -> dict:
    before = mesh.cpu_seconds()
    result = mesh.load("streams", "--streams", streams, "--tokens", tokens)
    after = mesh.cpu_seconds()
    result["tokens_per_s"] = result["tokens"] / result["seconds"]
    result["engine_tokens_per_s"] = streams * 1e6 / STEP_US
    result["cpu_us_per_token"] = {name: (after[name] - before[name]) * 1e6 / result["tokens"] for name in before}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=os.environ.get("WEFT_BIN_DIR", ROOT / "build/bench/bin"))
    parser.add_argument("--model", default=os.environ.get(
        "WEFT_MODEL", str(ROOT / ".weft/models/SmolLM2-135M-Instruct.Q4_1.gguf")))
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
        "commit": subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                 text=True).stdout.strip(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end, "
                   f"niceness {os.nice(0)}, {'real-time' if os.sched_getscheduler(0) else 'normal'} scheduling",
        "command": " ".join(sys.argv),
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
