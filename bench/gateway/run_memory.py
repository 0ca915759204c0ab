#!/usr/bin/env python3
"""Memory of the gateway with 10,000 idle keep-alive connections, beside nginx, and with 1,000 open streams."""

import argparse
import json
import socket
import time
from pathlib import Path

from stage import BIN_DIR, MODEL, ROOT, Mesh, provenance, raise_open_files, result_of


def open_connections(port: int, count: int, path: str, header: str) -> list[socket.socket]:
    """Each has had an answer, and waits for its next request."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n".encode()
    sockets = []
    for i in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=30)
        one.sendall(request)
        answer = one.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200"), f"connection {i}: {answer[:200]!r}"
        sockets.append(one)
    return sockets


def kept(sockets: list[socket.socket]) -> int:
    """Of the connections, those that the server has not closed."""
    alive = 0
    for one in sockets:
        one.setblocking(False)
        try:
            alive += one.recv(1) != b""
        except BlockingIOError:
            alive += 1
    return alive


def measure_idle(mesh: Mesh, name: str, port: int, count: int, path: str, header: str = "") -> dict:
    for one in open_connections(port, 100, path, header):  # what is made once
        one.close()
    time.sleep(0.5)
    if name == "nginx":  # its worker, not its master, holds the connections
        children = Path(f"/proc/{mesh.processes[name].pid}/task/{mesh.processes[name].pid}/children").read_text()
        name = children.split()[0]
    before = mesh.memory(name)
    sockets = open_connections(port, count, path, header)
    time.sleep(1)
    after = mesh.memory(name)
    alive = kept(sockets)
    assert alive == count, f"only {alive} of {count} connections were kept"
    for one in sockets:
        one.close()
    return {"connections": count, "before": before, "with_them": after,
            "bytes_per_connection": round((after["resident"] - before["resident"]) / count)}


def measure_streams(mesh: Mesh, count: int) -> dict:
    # Once, so that what is made once is there; a few, so that the memory of many is not there yet.
    mesh.load("streams", streams=20, tokens=5)
    before = {name: mesh.memory(name) for name in ("gateway", "scheduler")}
    load = mesh.start_load("streams", streams=count, tokens=60)
    deadline = time.monotonic() + 30
    while mesh.metric("weft_http_streams") < count:
        assert time.monotonic() < deadline and load.poll() is None, "the streams do not begin"
        time.sleep(0.1)
    time.sleep(1)
    during = {name: mesh.memory(name) for name in ("gateway", "scheduler")}
    assert mesh.metric("weft_http_streams") == count
    result_of(load)
    return {"streams": count} | {name: {
        "before": before[name], "with_them": during[name],
        "bytes_per_stream": round((during[name]["resident"] - before[name]["resident"]) / count)} for name in before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, default=BIN_DIR)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--json", type=Path, default=ROOT / "bench/results/gateway_memory.json")
    options = parser.parse_args()
    raise_open_files(options.connections + 1000)
    settings = {"gateway.http.max_connections": options.connections + 500, "gateway.http.idle_timeout": "10m",
                "gateway.http.max_streams": 2 * options.streams, "telemetry.log_level": "warning"}
    result: dict = provenance()
    with Mesh(options.bin_dir, options.model, settings=settings) as mesh:
        nginx = mesh.start_nginx("x" * 1024)
        result["idle"] = {"nginx": measure_idle(mesh, "nginx", nginx, options.connections, "/page.json"),
                          "weft": measure_idle(mesh, "gateway", mesh.port, options.connections, "/v1/models",
                                               f"Authorization: Bearer {mesh.key}\r\n")}
    # Steps so slow that all are open together.
    with Mesh(options.bin_dir, options.model, settings=settings, step_us=200_000) as mesh:
        result["streams"] = measure_streams(mesh, options.streams)
    result |= provenance()
    for name, one in result["idle"].items():
        print(f"{name}: {one['connections']} idle connections take {one['bytes_per_connection']} bytes each "
              f"({one['before']['resident'] / 2**20:.1f} MiB before, {one['with_them']['resident'] / 2**20:.1f} with them)")
    for name in ("gateway", "scheduler"):
        one = result["streams"][name]
        print(f"{name}: {options.streams} open streams take {one['bytes_per_stream']} bytes each "
              f"({one['before']['resident'] / 2**20:.1f} MiB before, {one['with_them']['resident'] / 2**20:.1f} with them)")
    options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
