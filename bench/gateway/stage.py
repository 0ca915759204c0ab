"""What the gateway's benchmarks start and stop (a mesh around an engine that computes nothing, peers beside it), and
the load on them."""

import http.client
import json
import os
import platform
import re
import resource
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
BIN_DIR = Path(os.environ.get("WEFT_BIN_DIR", ROOT / "build/bench/bin"))
MODEL = os.environ.get("WEFT_MODEL", str(ROOT / ".weft/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
STEP_US = 10_000
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stage:
    """Processes in a folder of their own, for the length of a with block."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="weft-bench-", dir="/tmp"))
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, name: str, argv: list, environment: dict | None = None) -> None:
        with open(self.home / f"{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log,
                                                    env={**os.environ, **(environment or {})})

    def wait_for(self, url: str, seconds: float = 60, status: int = 200) -> None:
        deadline = time.monotonic() + seconds
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    sys.exit(f"{name} ended at its start:\n" + (self.home / f"{name}.log").read_text()[-4000:])
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if answer.status == status:
                        return
            except urllib.error.HTTPError as error:
                if error.code == status:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in self.home.glob("*.log"))
                sys.exit(f"{url} does not get ready:\n{logs}")
            time.sleep(0.1)

    def __enter__(self) -> "Stage":
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_all(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def start_redis(self) -> str:
        """A Redis without a disk; its URL."""
        path = self.home / "redis.sock"
        self.start("redis", [need("redis-server"), "--port", "0", "--save", "", "--unixsocket", path, "--dir", self.home])
        while not path.exists():
            time.sleep(0.01)
        return f"unix://{path}"

    def start_nginx(self, page: str) -> int:
        """One worker that serves `page` as /page.json from a file; its port."""
        port = free_port()
        (self.home / "page.json").write_text(page)
        (self.home / "nginx.conf").write_text(f"""
worker_processes 1;
pid {self.home}/nginx.pid;
error_log {self.home}/nginx.err;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  default_type application/json;
  types {{ application/json json; }}
  server {{ listen 127.0.0.1:{port}; root {self.home}; }}
}}
""")
        os.chmod(self.home, 0o755)  # its worker is another user's when we are root
        self.start("nginx", [need("nginx"), "-p", self.home, "-c", self.home / "nginx.conf", "-g", "daemon off;"])
        self.wait_for(f"http://127.0.0.1:{port}/page.json")
        return port

    def cpu_seconds(self) -> dict[str, float]:
        seconds = {}
        for name, process in self.processes.items():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds[name] = (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime of proc(5)
        return seconds

    def memory(self, name: str) -> dict[str, int]:
        """Resident bytes of a process (its name, or the id of one that it started), and how many are its own."""
        pid = self.processes[name].pid if name in self.processes else int(name)
        text = Path(f"/proc/{pid}/status").read_text()
        return {key: int(re.search(rf"{field}:\s+(\d+) kB", text).group(1)) * 1024
                for key, field in (("resident", "VmRSS"), ("anonymous", "RssAnon"))}


class Mesh(Stage):
    """Gateway, scheduler, a paced worker and perhaps the scanner. `settings` are the gateway's besides."""

    def __init__(self, bin_dir: Path = BIN_DIR, model: str = MODEL, scanner: bool = False,
                 worker_flags: list[str] | None = None, settings: dict | None = None, step_us: int = STEP_US,
                 redis: bool = False, scheduler_settings: dict | None = None):
        super().__init__()
        self.bin_dir, self.model, self.scanner = bin_dir, model, scanner
        self.worker_flags, self.settings, self.step_us, self.redis = worker_flags or [], settings or {}, step_us, redis
        self.scheduler_settings = scheduler_settings or {}
        self.port, self.admin_port = free_port(), free_port()
        self.key = ""

    def start_service(self, name: str, settings: dict) -> None:
        argv = [self.bin_dir / f"weft-{name}"]
        settings = {f"{name}.admin_listen": f"127.0.0.1:{free_port()}", "telemetry.traces.enabled": "false", **settings}
        for key, value in settings.items():
            argv += ["--set", f"{key}={value}"]
        self.start(name, argv)

    def start_all(self) -> None:
        sockets = {name: f"unix:{self.home}/{name}.sock" for name in ("worker", "scheduler", "scanner")}
        self.start("worker", [self.bin_dir / "bench_mesh", "worker", "--listen", sockets["worker"], "--model",
                              self.model, "--step-us", self.step_us, *self.worker_flags])
        self.start_service("scheduler", {"scheduler.listen": sockets["scheduler"],
                                         "scheduler.workers": sockets["worker"], **self.scheduler_settings})
        if self.scanner:
            self.start_service("scanner", {"scanner.listen": sockets["scanner"]})
        self.start_service("gateway", {
            "gateway.listen": f"127.0.0.1:{self.port}", "gateway.grpc_listen": f"127.0.0.1:{free_port()}",
            "gateway.admin_listen": f"127.0.0.1:{self.admin_port}",
            "gateway.database": self.home / "gateway.db", "gateway.admin_key_file": self.home / "admin.key",
            "gateway.admin_requests_per_minute": 1_000_000, "gateway.scheduler": sockets["scheduler"],
            "gateway.limits.global.requests_per_minute": 0, "gateway.limits.global.concurrent": 0,
            "gateway.cache.enabled": "false",
            "gateway.scanner": sockets["scanner"] if self.scanner else "",
            **({"gateway.redis.url": self.start_redis()} if self.redis else {}), **self.settings})
        self.wait_for(f"http://127.0.0.1:{self.port}/ready")
        self.key = (self.home / "admin.key").read_text().strip()

    def request(self, method: str, path: str, body: dict | None = None, headers: dict | None = None,
                key: str | None = None) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json",
                            **(headers or {})})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def make_key(self, tenant: str) -> str:
        status, _, body = self.request("POST", "/v1/keys", {"name": tenant, "tenant": tenant,
                                                            "requests_per_minute": 1_000_000})
        assert status == 201, body
        return json.loads(body)["secret"]

    def metric(self, name: str) -> float:
        """Sum of a metric's series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if re.match(rf"{name}(\{{|\s)", line))

    def start_load(self, mode: str, key: str | None = None, **flags: object) -> subprocess.Popen:
        """bench_sse, with --FLAG for each of `flags`."""
        command = [str(self.bin_dir / "bench_sse"), mode, "--port", str(self.port), "--key", key or self.key]
        for name, value in flags.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def load(self, mode: str, key: str | None = None, **flags: object) -> dict:
        """What bench_sse measured."""
        return result_of(self.start_load(mode, key, **flags))


def result_of(load: subprocess.Popen) -> dict:
    out, error = load.communicate()
    if load.returncode != 0:
        sys.exit(f"bench_sse failed: {error}")
    return json.loads(out)


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        sys.exit(f"{program} is not installed")
    return path


def wrk(url: str, seconds: float, connections: int, headers: dict | None = None, script: Path | None = None,
        refusals: bool = False) -> dict:
    """One thread of wrk: requests a second, and milliseconds of them."""
    argv = [need("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s"]
    for name, value in (headers or {}).items():
        argv += ["-H", f"{name}: {value}"]
    if script:
        argv += ["-s", str(script)]
    out = subprocess.run(argv + [url], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    if (bad and not refusals) or (broken and any(int(n) for n in broken.groups())):
        sys.exit(f"{url} gave errors:\n{out}")
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

    def percentile(name: str) -> float:
        number, kind = re.search(rf"{name}%\s+([\d.]+)(us|ms|s|m)\b", out).groups()
        return float(number) * unit[kind]

    return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            "p50_ms": percentile("50"), "p99_ms": percentile("99"),
            "requests": int(re.search(r"(\d+) requests in", out).group(1))}


def post_script(path: Path, body: dict) -> Path:
    """A script that makes wrk POST `body`."""
    text = json.dumps(body)
    assert "]==]" not in text
    path.write_text(f'wrk.method = "POST"\nwrk.body = [==[{text}]==]\n'
                    'wrk.headers["Content-Type"] = "application/json"\n')
    return path


def raise_open_files(count: int) -> None:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            sys.exit(f"{count} open files are needed, the limit is {hard}: ulimit -Hn")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def summary(values: list[float], digits: int = 3) -> dict:
    return {"median": round(statistics.median(values), digits), "lowest": round(min(values), digits),
            "highest": round(max(values), digits)}


def provenance() -> dict:
    scheduling = "real-time" if os.sched_getscheduler(0) else "normal"
    return {"commit": subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                     text=True).stdout.strip(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the end, "
                       f"niceness {os.nice(0)}, {scheduling} scheduling",
            "command": " ".join(sys.argv)}
