"""A real PostgreSQL server for one test, in a folder of its own, on a Unix socket, as an unprivileged user."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NOBODY = 65534


def server_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert found, "no PostgreSQL server: install postgresql"
    return found[-1].parent


class Postgres:
    """Started when made; `url` is of a database that the ordinary role weft owns."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="weft-pg-", dir="/tmp"))
        self.bin = server_programs()
        self.process: subprocess.Popen | None = None
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self._run(self.bin / "initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust",
                  "-E", "UTF8", "--no-locale", "--no-sync")
        with open(self.folder / "data/postgresql.conf", "a") as config:
            config.write(f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                         "shared_buffers = 16MB\nfsync = off\n")
        self.start()
        self.sql("postgres", "CREATE ROLE weft LOGIN")
        self.sql("postgres", "CREATE DATABASE weft OWNER weft")
        self.url = f"postgresql://weft@/weft?host={self.folder}"

    def _unprivileged(self, *argv) -> list[str]:
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
        return (drop if os.geteuid() == 0 else []) + [str(a) for a in argv]

    def _run(self, *argv) -> None:
        done = subprocess.run(self._unprivileged(*argv), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        deadline = time.monotonic() + 60
        ready = [self.bin / "pg_isready", "-q", "-h", self.folder]
        while True:
            if self.process is None or self.process.poll() is not None:
                with open(self.folder / "log", "ab") as log:
                    self.process = subprocess.Popen(
                        self._unprivileged(self.bin / "postgres", "-D", self.folder / "data"),
                        stdout=log, stderr=log)
            if subprocess.run(ready).returncode == 0:
                return
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def sql(self, database: str, statement: str) -> str:
        done = subprocess.run([self.bin / "psql", "-h", self.folder, "-U", "postgres", "-d", database,
                               "-v", "ON_ERROR_STOP=1", "-qAt", "-c", statement],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(2)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
