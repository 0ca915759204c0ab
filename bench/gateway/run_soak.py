#!/usr/bin/env python3
"""Many requests of every kind for a long time: how many, and whether memory stays flat."""

import argparse
import json
import re
import statistics
import subprocess
import time
from pathlib import Path

from run_cached import LIMITS
from stage import BIN_DIR, MODEL, ROOT, Mesh, need, provenance

# Of 100 requests: cached answers, lists of models, refusals, health, answers that are made, streams.
SCRIPT = """
local key = "%s"
local function ask(prompt, stream)
  return string.format('{"model":"synthetic","prompt":"%%s","max_tokens":4,"temperature":0,"stream":%%s}', prompt, stream)
end
local made = 0
local headers = {["Authorization"] = "Bearer " .. key, ["Content-Type"] = "application/json"}
local wrong = {["Authorization"] = "Bearer weft_wrong"}
request = function()
  local dice = math.random(100)
  if dice <= 55 then return wrk.format("POST", "/v1/completions", headers, ask("prompt " .. math.random(1000), "false")) end
  if dice <= 75 then return wrk.format("GET", "/v1/models", headers) end
  if dice <= 85 then return wrk.format("GET", "/v1/models", wrong) end
  if dice <= 95 then return wrk.format("GET", "/health") end
  made = made + 1
  local prompt = string.format("new %%d of %%d at %%d", made, seed, os.time())
  return wrk.format("POST", "/v1/completions", headers, ask(prompt, dice <= 98 and "false" or "true"))
end
init = function(args)
  seed = tonumber(args[1])
  math.randomseed(seed)
end
local statuses = {}
response = function(status) statuses[status] = (statuses[status] or 0) + 1 end
done = function(summary, latency)
  io.write(string.format("ended %%d errors %%d p99_us %%d\\n", summary.requests,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(99)))
end
"""


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares, a second."""
    xs, ys = zip(*points)
    x0, y0 = statistics.mean(xs), statistics.mean(ys)
    return sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x in xs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=BIN_DIR)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_soak.json")
    options = parser.parse_args()
    # A cache of 8 MiB is full after minutes, so that it evicts; one refusal of 100 is not throttled.
    settings = {**LIMITS, "gateway.cache.enabled": "true", "gateway.cache.max_bytes": "8MiB",
                "gateway.failed_auth.per_minute": 0, "telemetry.log_level": "error"}
    samples: list[dict] = []
    done = errors = 0
    with Mesh(options.bin_dir, options.model, step_us=1000, settings=settings) as mesh:
        script = mesh.home / "soak.lua"
        script.write_text(SCRIPT % mesh.key)
        begin = time.monotonic()
        piece = 0
        load = None
        while True:
            now = time.monotonic() - begin
            if load is None or load.poll() is not None:
                if load is not None:
                    ended = re.search(r"ended (\d+) errors (\d+)", load.stdout.read())
                    done, errors = done + int(ended.group(1)), errors + int(ended.group(2))
                if now >= options.minutes * 60:
                    break
                piece += 1
                seconds = max(1, min(60, round(options.minutes * 60 - now)))
                load = subprocess.Popen([need("wrk"), "-t1", f"-c{options.connections}", f"-d{seconds}s", "-s", script,
                                         f"http://127.0.0.1:{mesh.port}", "--", str(piece)], stdout=subprocess.PIPE,
                                        text=True)
            samples.append({"s": round(now, 1), "gateway": mesh.memory("gateway")["anonymous"],
                            "scheduler": mesh.memory("scheduler")["anonymous"],
                            "journal": mesh.metric("weft_usage_journal_bytes"),
                            "cache": mesh.metric("weft_cache_bytes")})
            time.sleep(5)
        usage_rows = mesh.metric("weft_usage_rows_total")
        generations = mesh.metric("weft_cache_requests_total")
        audit_lost = (mesh.home / "gateway.log").read_text().count("was lost")
        seconds = time.monotonic() - begin
    half = [s for s in samples if s["s"] >= samples[-1]["s"] / 2]
    result = {**provenance(), "minutes": round(seconds / 60, 1), "requests": done, "requests_per_s": round(done / seconds),
              "errors": errors, "generations": generations, "usage_rows_stored": usage_rows, "audit_rows_lost": audit_lost}
    for name in ("gateway", "scheduler"):
        result[name] = {"first_mib": round(samples[0][name] / 2**20, 1), "half_mib": round(half[0][name] / 2**20, 1),
                        "last_mib": round(samples[-1][name] / 2**20, 1),
                        "most_mib": round(max(s[name] for s in samples) / 2**20, 1),
                        "slope_of_second_half_kib_per_minute": round(
                            slope([(s["s"], s[name]) for s in half]) * 60 / 1024, 1)}
    result["samples"] = samples[:: max(1, len(samples) // 120)]
    print(f"{done} requests in {seconds / 60:.1f} minutes ({done / seconds:.0f}/s), {errors} errors; " + "; ".join(
        f"{name} {result[name]['first_mib']} MiB at first, {result[name]['half_mib']} at half time, "
        f"{result[name]['last_mib']} at the end ({result[name]['slope_of_second_half_kib_per_minute']} KiB/min)"
        for name in ("gateway", "scheduler")))
    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
