"""A real redis-server of a test's own, on a Unix socket, without a disk."""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path


class Redis:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="weft-redis-", dir="/tmp"))
        self.socket = self.folder / "redis.sock"
        self.process: subprocess.Popen | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is missing: install the package redis-server"
        self.socket.unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [program, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no",
                 "--dir", str(self.folder)], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.01)

    def answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def clean_up(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
