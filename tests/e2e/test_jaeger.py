"""One request in a real Jaeger (label full: Jaeger is built first, by ./weft test --full)."""

import os
import re
import subprocess
from pathlib import Path

import httpx

from mesh import ROOT, free_port, wait_until
from trace_check import SERVICES, Span, check_trace, is_whole


def test_one_request_is_one_trace_in_jaeger(fresh_mesh, tmp_path):
    home = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
    binary = home / "tools/jaeger"
    assert binary.exists(), "run ./weft test --full, or deploy/tools/build_jaeger.sh " + str(
        binary.parent)
    text = (ROOT / "deploy/dev/jaeger.yaml").read_text()
    ports = {port: free_port() for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", text)))}
    for port, other in ports.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    (tmp_path / "jaeger.yaml").write_text(text)
    query = f"http://127.0.0.1:{ports['16686']}"
    jaeger = subprocess.Popen([binary, "--config", tmp_path / "jaeger.yaml"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        mesh = fresh_mesh(workers=1, extra={"collector": {
            "export": {"endpoint": f"127.0.0.1:{ports['14317']}"}}})
        parent = "051581bf3cb55c13"
        trace_id = "5b8aa5a2d2c872e8321cf37308d69df2"
        with mesh.client(headers={**mesh.headers(),
                                  "traceparent": f"00-{trace_id}-{parent}-01"}) as client:
            model = client.get("/v1/models").json()["data"][0]["id"]
            assert client.post("/v1/chat/completions", json={
                "model": model, "max_tokens": 8,
                "messages": [{"role": "user", "content": "Hi"}]}).status_code == 200

        def trace():
            answer = httpx.get(f"{query}/api/traces/{trace_id}")
            if answer.status_code != 200:
                return None
            found = answer.json()["data"][0]
            names = {key: p["serviceName"] for key, p in found["processes"].items()}
            spans = [Span(s["spanID"], next((r["spanID"] for r in s["references"]), None),
                          names[s["processID"]], s["operationName"], s["startTime"] * 1000,
                          (s["startTime"] + s["duration"]) * 1000) for s in found["spans"]]
            return spans if is_whole(spans, parent) else None

        # Jaeger counts in microseconds.
        check_trace(wait_until(trace, 30, 0.3), parent, slack=1_002_000)
        assert set(httpx.get(f"{query}/api/services").json()["data"]) >= SERVICES
    finally:
        jaeger.terminate()
        jaeger.wait(20)
