#!/usr/bin/env python3
"""A request with a key, limits and a cached answer: nginx (static 1 KB), Weft, and LiteLLM's proxy, alternating."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path

from stage import BIN_DIR, MODEL, ROOT, Mesh, free_port, post_script, provenance, summary, wrk

LITELLM = "litellm[proxy]==1.106.2"
# All of them are counted at every request; none refuses.
LIMITS = {f"gateway.limits.{scope}.{what}": 100_000_000 for scope in ("key", "tenant", "address")
          for what in ("requests_per_minute", "tokens_per_minute")} | {
    "gateway.limits.tenant.concurrent": 10_000, "gateway.limits.model.tokens_per_minute": 1_000_000_000,
    "gateway.limits.tenant.tokens_per_month": 1_000_000_000_000}
BODY = {"model": "synthetic", "messages": [{"role": "user", "content": "Write a function that adds two numbers."}],
        "max_tokens": 200, "temperature": 0}


def litellm_program() -> Path:
    """Its own virtual environment, made once, since it pins what other programs have otherwise."""
    given = os.environ.get("WEFT_LITELLM")
    if given:
        return Path(given)
    venv = Path(os.environ.get("WEFT_HOME", ROOT / ".weft")) / "litellm"
    program = venv / "bin/litellm"
    if not program.exists():
        print(f"installing {LITELLM} into {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", LITELLM], check=True)
    return program


def litellm_version(program: Path) -> str:
    python = program.parent / "python"
    return subprocess.run([python, "-c", "import importlib.metadata as m; print(m.version('litellm'))"],
                          capture_output=True, text=True, check=True).stdout.strip()


def start_litellm(mesh: Mesh, program: Path) -> int:
    """One worker, a master key, a limit on the model and its cache in the process; its backend is Weft's own API."""
    port = free_port()
    config = {
        "model_list": [{"model_name": "synthetic", "litellm_params": {
            "model": "openai/synthetic", "api_base": f"http://127.0.0.1:{mesh.port}/v1", "api_key": mesh.key,
            "rpm": 100_000_000, "tpm": 1_000_000_000}}],
        "litellm_settings": {"cache": True, "cache_params": {"type": "local", "ttl": 3600,
                                                             "supported_call_types": ["acompletion"]}},
        "general_settings": {"master_key": "sk-bench"}}
    (mesh.home / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    mesh.start("litellm", [program, "--config", mesh.home / "litellm.yaml", "--host", "127.0.0.1", "--port", port,
                           "--num_workers", "1"],
               {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "HOME": str(mesh.home),
                "PATH": f"{program.parent}:{os.environ['PATH']}"})
    mesh.wait_for(f"http://127.0.0.1:{port}/health/liveliness", 180)
    return port


def ask(port: int, key: str) -> tuple[dict, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(BODY).encode(),
                                     {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(answer.getheaders()), answer.read()


def rounds_of(targets: dict, rounds: int, seconds: float, connections: int) -> dict:
    """Samples of each target, taken in turns."""
    samples: dict = {name: [] for name in targets}
    for _ in range(rounds):
        for name, (url, headers, script) in targets.items():
            samples[name].append(wrk(url, seconds, connections, headers, script))
    return samples


def table(samples: dict) -> dict:
    out = {name: {what: summary([run[what] for run in runs]) for what in ("rps", "p50_ms", "p99_ms")}
           for name, runs in samples.items()}
    for name in samples:
        if name.startswith("weft"):
            for peer in ("nginx", "litellm"):
                if peer in samples:
                    out[name][f"rps_to_{peer}"] = summary(
                        [w["rps"] / p["rps"] for w, p in zip(samples[name], samples[peer])])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=BIN_DIR)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--without", action="append", default=[], choices=["litellm", "redis"])
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_cached.json")
    options = parser.parse_args()
    settings = {**LIMITS, "gateway.cache.enabled": "true", "gateway.http.threads": 1, "telemetry.log_level": "error"}
    with Mesh(options.bin_dir, options.model, step_us=100, settings=settings) as mesh, \
            Mesh(options.bin_dir, options.model, step_us=100, settings=settings, redis=True) as shared:
        targets = {"nginx": (f"http://127.0.0.1:{mesh.start_nginx('x' * 1024)}/page.json", None, None)}
        script = post_script(mesh.home / "post.lua", BODY)
        for name, one in (("weft", mesh), ("weft_redis", shared)):
            if name == "weft_redis" and "redis" in options.without:
                continue
            ask(one.port, one.key)
            headers, body = ask(one.port, one.key)
            assert headers["X-Weft-Cache"] == "hit" and "RateLimit" in headers, headers
            targets[name] = (f"http://127.0.0.1:{one.port}/v1/chat/completions",
                             {"Authorization": f"Bearer {one.key}"}, script)
        peer = ""
        if "litellm" not in options.without:
            program = litellm_program()
            peer = litellm_version(program)
            port = start_litellm(mesh, program)
            ask(port, "sk-bench")
            before = mesh.metric("weft_cache_requests_total")
            ask(port, "sk-bench")
            assert mesh.metric("weft_cache_requests_total") == before, "LiteLLM did not answer from its cache"
            targets["litellm"] = (f"http://127.0.0.1:{port}/v1/chat/completions",
                                  {"Authorization": "Bearer sk-bench"}, script)
        for url, headers, body_script in targets.values():  # warm up
            wrk(url, 1, options.connections, headers, body_script)
        busy = rounds_of(targets, options.rounds, options.seconds, options.connections)
        one_by_one = rounds_of(targets, options.rounds, options.seconds, 1)
        answer_bytes = len(body)
    result = {**provenance(), "litellm": peer, "rounds": options.rounds, "seconds": options.seconds,
              "weft_answer_bytes": answer_bytes, "nginx_page_bytes": 1024,
              f"connections_{options.connections}": table(busy), "connections_1": table(one_by_one)}
    for title, samples in ((f"{options.connections} connections", busy), ("1 connection", one_by_one)):
        print(title)
        for name, runs in samples.items():
            print(f"  {name:12} {statistics.median(r['rps'] for r in runs):9.0f} requests/s  "
                  f"p50 {statistics.median(r['p50_ms'] for r in runs):8.3f} ms  "
                  f"p99 {statistics.median(r['p99_ms'] for r in runs):8.3f} ms")
    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
