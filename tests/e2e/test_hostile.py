"""10,000 connections that send their head a byte at a time, against a whole mesh."""

import resource
import selectors
import socket
import threading
import time

import httpx
import pytest

pytestmark = pytest.mark.timeout(600)

CONNECTIONS = 10_000
ADMITTED = 2_000  # gateway.http.max_connections
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: weft\r\nX-Slow: "


class SlowLoris(threading.Thread):
    """Holds `count` connections that never end their head; one that the server closes is opened again."""

    def __init__(self, port: int, count: int, source: str):
        super().__init__(daemon=True)
        self.port, self.count, self.source = port, count, source
        self.opened = self.closed = self.refused = 0
        self.full = threading.Event()  # as many were open as were asked for, or were tried
        self.stop = threading.Event()
        self.selector = selectors.DefaultSelector()
        self.open: set[socket.socket] = set()

    def connect(self) -> None:
        one = socket.socket()
        try:
            one.bind((self.source, 0))
            one.settimeout(10)
            one.connect(("127.0.0.1", self.port))
            one.setblocking(False)
            one.send(HEAD)
        except OSError:
            self.refused += 1
            one.close()
            return
        self.opened += 1
        self.open.add(one)
        self.selector.register(one, selectors.EVENT_READ)

    def drop(self, one: socket.socket) -> None:
        self.closed += 1
        self.selector.unregister(one)
        self.open.discard(one)
        one.close()

    def reap(self) -> None:
        while ready := self.selector.select(0):
            for key, _ in ready:  # the server says nothing to them but that it closes
                self.drop(key.fileobj)

    def run(self) -> None:
        while not self.stop.is_set():
            for _ in range(min(500, self.count - len(self.open))):
                self.connect()
            self.reap()
            if self.opened + self.refused >= self.count:
                self.full.set()
            for one in list(self.open)[:500]:  # a byte each, in turns
                try:
                    one.send(b"x")
                except OSError:
                    self.drop(one)
        for one in list(self.open):
            one.close()
        self.selector.close()


@pytest.fixture
def open_files():
    """Room for them in this process and in the gateway that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CONNECTIONS + 1000
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.fail(f"{needed} open files are needed, the limit is {hard}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(mesh) -> int:
    with open(f"/proc/{mesh.pids()['gateway']}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("per_address", [0, 500], ids=["evicted", "refused by address"])
def test_10000_slow_connections_keep_nobody_out_and_take_little_memory(fresh_mesh, open_files, per_address):
    mesh = fresh_mesh(workers=1, extra={"gateway": {"http": {
        "max_connections": ADMITTED, "max_connections_per_address": per_address, "header_timeout": "60s"}}})
    before = resident(mesh)
    pid = mesh.pids()["gateway"]
    attack = SlowLoris(mesh.ports["rest"], CONNECTIONS, "127.0.0.2")
    attack.start()
    slowest, most, held = 0.0, 0, 0.0
    try:
        answered = 0
        # While they come, and for a hundred requests after all are there: each on a new connection.
        while not attack.full.is_set() or answered < 100:
            begin = time.monotonic()
            answer = httpx.get(f"{mesh.url}/v1/models", headers=mesh.headers(), timeout=30)
            slowest = max(slowest, time.monotonic() - begin)
            assert answer.status_code == 200, answer.text
            answered += attack.full.is_set()
            most = max(most, resident(mesh))
            held = max(held, mesh.metrics("gateway")["weft_http_connections"])
            assert attack.is_alive()
    finally:
        attack.stop.set()
        attack.join()
    print(f"{attack.opened} opened, {attack.closed} closed by the gateway, slowest answer {slowest:.2f} s, "
          f"{most - before} bytes more, at most {held:.0f} connections")
    assert attack.opened + attack.refused >= CONNECTIONS
    assert held <= ADMITTED * 1.25  # those that were told to go count until their thread closed them
    assert attack.closed >= CONNECTIONS - ADMITTED
    assert most - before < 64 << 20, "the gateway keeps much for connections that say nothing"
    assert mesh.pids()["gateway"] == pid, "the gateway was started anew"
    name = "weft_http_connections_refused_total" if per_address else "weft_http_connections_evicted_total"
    assert mesh.metrics("gateway")[name] >= CONNECTIONS - ADMITTED
