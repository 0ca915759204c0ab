"""Starts a real mesh, as ./weft up does, with a state directory and ports of its own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("WEFT_BIN_DIR", ROOT / "build/dev/bin"))
SERVICES = ("gateway", "scheduler", "worker", "scanner", "collector")


def model_path() -> Path:
    if "WEFT_MODEL" in os.environ:
        return Path(os.environ["WEFT_MODEL"])
    home = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
    return home / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


_handed_out: set[int] = set()


def free_port() -> int:
    """A port below the kernel's range for outgoing connections, so that none of those takes it. Never
    the same one twice: what is asked for now is bound later."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        low = int(file.read().split()[0])
    for _ in range(1000):
        port = 10000 + int.from_bytes(os.urandom(2), "little") % (min(low, 32000) - 11000)
        wanted = {port, port + 10, port + 20}  # further workers: 10 apart
        if wanted & _handed_out:
            continue
        try:
            for used in wanted:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", used))
            _handed_out.update(wanted)
            return port
        except OSError:
            continue
    raise RuntimeError("no free port")


def merge(base: dict, extra: dict) -> dict:
    out = dict(base)
    for key, value in extra.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out


class Mesh:
    """One supervisor with its services. `extra` goes over the test's base configuration."""

    def __init__(self, workers: int = 2, extra: dict | None = None,
                 environment: dict | None = None, name: str = "weft-"):
        # Short: the path of a Unix socket has at most 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix=name, dir="/tmp"))
        self.workers = workers
        self.environment = {**os.environ, **(environment or {})}
        self.ports = {name: free_port() for name in ("rest", "grpc", "otlp_grpc", "otlp_http")}
        self.admin_ports = {name: free_port() for name in SERVICES}
        self.spans_file = self.home / "spans.jsonl"
        self.config = merge(self._base_config(), extra or {})
        self.config_file = self.home / "mesh.yaml"
        self.config_file.write_text(json.dumps(self.config, indent=1))  # JSON is YAML
        self.process: subprocess.Popen | None = None
        self.output = self.home / "supervisor.out"

    def _base_config(self) -> dict:
        local = "127.0.0.1:{}".format
        return {
            "gateway": {"listen": local(self.ports["rest"]),
                        "grpc_listen": local(self.ports["grpc"]),
                        "admin_listen": local(self.admin_ports["gateway"]),
                        "admin_requests_per_minute": 1_000_000,
                        # Of all requests together: tests make many.
                        "limits": {"global": {"requests_per_minute": 0, "concurrent": 0}},
                        "cache": {"enabled": False}},  # the same again is to be made again
            "scheduler": {"admin_listen": local(self.admin_ports["scheduler"])},
            "worker": {"admin_listen": local(self.admin_ports["worker"])},
            "scanner": {"admin_listen": local(self.admin_ports["scanner"])},
            "collector": {"otlp_grpc_listen": [local(self.ports["otlp_grpc"])],
                          "otlp_http_listen": local(self.ports["otlp_http"]),
                          "admin_listen": local(self.admin_ports["collector"]),
                          "file": str(self.spans_file)},
        }

    # --- life ---

    def command(self, *args: str) -> list[str]:
        return [str(BIN / "weftctl"), *args, "--home", str(self.home)]

    def start(self, timeout: float = 120) -> "Mesh":
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen(
                self.command("supervise", "--config", str(self.config_file), "--workers",
                             str(self.workers), "--model", str(model_path())),
                stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=self.environment)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the mesh did not start:\n{self.tail()}")
            if self.all_ready():
                return self
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"the mesh was not ready after {timeout} s:\n{self.tail()}")

    def tail(self, count: int = 60) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-count:])

    def stop(self, expect_clean: bool = False) -> int:
        code = 0
        if self.process and self.process.poll() is None:
            for pid in self.pids().values():  # a test may have stopped one
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            self.process.terminate()
            try:
                code = self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                code = self.process.wait()
        if expect_clean:
            assert code == 0, self.tail()
        return code

    def clean_up(self):
        self.stop()
        if os.environ.get("WEFT_E2E_KEEP") != "1":
            shutil.rmtree(self.home, ignore_errors=True)

    # --- what runs ---

    def state(self) -> dict:
        try:
            return json.loads((self.home / "run/mesh.json").read_text())
        except (OSError, ValueError):
            return {}

    def services(self) -> dict:
        return {service["name"]: service for service in self.state().get("services", [])}

    def pids(self) -> dict[str, int]:
        return {name: service["pid"] for name, service in self.services().items() if service["pid"]}

    def all_ready(self) -> bool:
        services = self.services()
        return bool(services) and self.state().get("state") == "ready" and all(
            service["state"] == "ready" for service in services.values())

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        pid = self.pids()[name]
        os.kill(pid, number)
        return pid

    def log_lines(self, service: str) -> list[dict]:
        lines = []
        for line in (self.home / "logs" / f"{service}.log").read_text().splitlines():
            if line.startswith("{"):
                lines.append(json.loads(line))
            else:
                assert line.startswith("-- "), f"{service} logs a line that is not JSON: {line!r}"
        return lines

    # --- clients ---

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['rest']}"

    @property
    def admin_key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def headers(self) -> dict:
        return {"Authorization": f"Bearer {self.admin_key}"}

    def client(self, **options) -> httpx.Client:
        options = {"base_url": self.url, "headers": self.headers(), "timeout": 120, **options}
        return httpx.Client(**options)

    def async_client(self, **options) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        options = {"base_url": self.url, "headers": self.headers(), "timeout": 300,
                   "limits": limits, **options}
        return httpx.AsyncClient(**options)

    def admin_port(self, service: str) -> int:
        """`worker-1` is the second worker."""
        return self.services()[service]["admin_port"]

    def metrics(self, service: str) -> dict[str, float]:
        """Every sample, keyed as it is written: name{label="value"}."""
        text = httpx.get(f"http://127.0.0.1:{self.admin_port(service)}/metrics").text
        return parse_metrics(text)

    def worker_gauge(self, name: str) -> float:
        """Sum of a gauge over the workers that answer."""
        total = 0.0
        for service in self.services():
            if service.startswith("worker"):
                try:
                    samples = self.metrics(service)
                except httpx.HTTPError:
                    continue
                total += sum(v for k, v in samples.items() if k.split("{")[0] == name)
        return total


def parse_metrics(text: str) -> dict[str, float]:
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"(\S+?(?:\{.*\})?) (\S+)(?: \d+)?", line)
            assert match, f"not a metrics line: {line!r}"
            assert match[1] not in samples, f"twice: {line!r}"
            samples[match[1]] = float(match[2])
    return samples


def wait_until(condition, timeout: float = 10, every: float = 0.05):
    """Returns the first true answer; fails when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not so after {timeout} s: {condition}"
        time.sleep(every)


def sse_events(response: httpx.Response) -> list[str]:
    """The data of each server-sent event."""
    return [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
