#!/usr/bin/env python3
"""User-space instructions of the gateway per request for /health and a 401, under valgrind's callgrind."""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from run_http import ROOT, free_port, start_gateway, wait_for

CASES = {"health": ("/health", ""), "unauthorized": ("/v1/models", "Authorization: Bearer weft_wrong\r\n")}


def ask(port: int, path: str, header: str, count: int) -> None:
    """Requests on one connection, one after the other."""
    message = f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(count):
            client.sendall(message)
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
            while len(body) < length:
                body += client.recv(65536)


def control(pid: int, *arguments: str) -> None:
    subprocess.run(["callgrind_control", *arguments, str(pid)], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    bin_dir = Path(os.environ.get("WEFT_BIN_DIR", ROOT / "build/bench/bin"))
    parser.add_argument("--bin", type=Path, default=bin_dir / "weft-gateway")
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    home = Path(tempfile.mkdtemp(prefix="weft-bench-"))
    runner = home / "run.sh"
    runner.write_text(f'#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file={home}/counts '
                      f'"{options.bin.resolve()}" "$@"\n')
    runner.chmod(0o755)
    port = free_port()
    gateway = start_gateway(runner, home, port)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        for path, header in CASES.values():
            ask(port, path, header, 200)
        control(gateway.pid, "-z")
        result = {}
        for number, (case, (path, header)) in enumerate(CASES.items(), start=1):
            ask(port, path, header, options.requests)
            control(gateway.pid, "-d")
            counts = (home / f"counts.{number}").read_text()
            total = int(re.search(r"^(?:summary|totals): (\d+)", counts, re.MULTILINE).group(1))
            result[case] = round(total / options.requests)
    finally:
        gateway.terminate()
        gateway.wait()
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
