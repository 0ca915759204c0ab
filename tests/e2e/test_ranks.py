"""A worker that is made of several processes, each a rank of its model."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest

from mesh import BIN, ROOT, free_port, model_path, parse_metrics, wait_until
from test_failover import stream_text

TOKEN = "ranks of one worker say this"


class Ranks:
    """The processes of one worker, on this machine."""

    def __init__(self, tensor: int = 1, pipeline: int = 1, over_tcp: bool = False):
        self.folder = Path(tempfile.mkdtemp(prefix="weft-r-", dir="/tmp"))
        self.count = tensor * pipeline
        self.listen = f"unix:{self.folder}/worker.sock"
        self.admin = [free_port() for _ in range(self.count)]
        self.meet = f"127.0.0.1:{free_port()}" if over_tcp else f"unix:{self.folder}/meet.sock"
        self.keys = ["--tensor-parallel", str(tensor), "--pipeline-parallel", str(pipeline),
                     "--rendezvous", self.meet,
                     "--set", f"worker.model={model_path()}", "--set", f"worker.listen={self.listen}",
                     "--set", "worker.threads=1", "--set", "worker.hang_timeout=10s",
                     "--set", "worker.rendezvous.timeout=100s"]
        # As a Kubernetes LeaderWorkerSet would give it.
        self.environment = {**os.environ, "WEFT_WORKER_RENDEZVOUS_TOKEN": TOKEN,
                            "WEFT_WORKER_RANKS": str(self.count)}
        self.processes: dict[int, subprocess.Popen] = {}

    def start(self, rank: int, **environment: str):
        with open(self.log(rank), "ab") as out:
            self.processes[rank] = subprocess.Popen(
                [BIN / "weft-worker", *self.keys,
                 "--set", f"worker.admin_listen=127.0.0.1:{self.admin[rank]}"],
                stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                env={**self.environment, "WEFT_WORKER_RANK": str(rank), **environment})

    def log(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.log"

    def ready(self, rank: int) -> bool:
        assert self.processes[rank].poll() is None, self.log(rank).read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.admin[rank]}/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def start_all(self):
        for rank in reversed(range(self.count)):  # followers wait for the one that serves
            self.start(rank)
        wait_until(lambda: all([self.ready(rank) for rank in range(self.count)]), 100)

    def running(self) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.admin[0]}/metrics").text
        return sum(v for k, v in parse_metrics(text).items()
                   if k.startswith("weft_num_requests_running{"))

    def clean_up(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture()
def ranks():
    made = []

    def make(**options) -> Ranks:
        made.append(Ranks(**options))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


def ask_for(mesh, content: str) -> str:
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        answer = client.post("/v1/chat/completions", timeout=120, json={
            "model": model, "temperature": 0, "max_tokens": 24,
            "messages": [{"role": "user", "content": content}]})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.timeout(300)
def test_three_processes_say_what_one_says_and_end_together(mesh, fresh_mesh, ranks):
    group = ranks(tensor=3, over_tcp=True)
    group.start_all()
    apart = fresh_mesh(workers=1, extra={"scheduler": {"workers": [group.listen]}})
    for content in ("What is gravity?", "Name a colour."):
        assert ask_for(apart, content) == ask_for(mesh, content)
    apart.stop()
    group.processes[0].terminate()
    assert [group.processes[rank].wait(60) for rank in range(3)] == [0, 0, 0]


@pytest.mark.timeout(300)
def test_a_killed_rank_ends_its_worker_the_streams_go_on_and_the_ranks_meet_again(fresh_mesh, ranks):
    group = ranks(pipeline=2)
    group.start_all()
    own = f"unix:{group.folder}/other.sock"
    mesh = fresh_mesh(workers=1, extra={"worker": {"listen": [own]},
                                        "scheduler": {"workers": [own, group.listen]}})

    async def run(hurt):
        async with mesh.async_client() as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            arrived = [0]
            streams = [asyncio.create_task(stream_text(client, {
                "model": model, "prompt": f"Number {i} is", "max_tokens": 60, "ignore_eos": True,
                "stream": True, **({"temperature": 0} if i % 2 else {"seed": i})}, arrived))
                for i in range(8)]
            if hurt:
                while arrived[0] < 8 or group.running() == 0:
                    await asyncio.sleep(0.01)
                group.processes[1].kill()
            return await asyncio.gather(*streams)

    calm = asyncio.run(run(False))
    stormy = asyncio.run(run(True))
    assert stormy == calm
    assert group.processes[0].wait(30) == 1
    assert "rank 1 is lost to rank 0" in group.log(0).read_text()
    group.start_all()
    wait_until(lambda: asyncio.run(run(False)) == calm and group.running() == 0, 60)


@pytest.mark.timeout(120)
def test_a_rank_that_goes_while_nobody_asks_ends_the_others(ranks):
    group = ranks(pipeline=2)
    group.start_all()
    group.processes[0].send_signal(signal.SIGKILL)
    assert group.processes[1].wait(30) == 1
    assert "rank 0 is lost to rank 1" in group.log(1).read_text()
    group.start_all()
    group.processes[1].kill()
    assert group.processes[0].wait(30) == 1


@pytest.mark.timeout(120)
def test_ranks_that_do_not_belong_together_say_why(ranks):
    group = ranks(pipeline=2, over_tcp=True)
    group.start(0)
    group.start(1, WEFT_WORKER_RENDEZVOUS_TOKEN="something quite different")
    assert group.processes[1].wait(60) == 1
    assert "token: it is another one" in group.log(1).read_text()
    group.start(1, WEFT_WORKER_TOKEN_BUDGET="100")
    assert group.processes[1].wait(60) == 1
    assert "token_budget 100" in group.log(1).read_text()
    group.start(1)
    wait_until(lambda: group.ready(0) and group.ready(1), 60)
    # Beyond the number of ranks, or without the secret: refused before anything is loaded.
    for environment, problem in (({"WEFT_WORKER_RANK": "2"}, "rank: 2 of 2 ranks"),
                                 ({"WEFT_WORKER_RENDEZVOUS_TOKEN": ""}, "16 characters at least"),
                                 ({"WEFT_WORKER_RANKS": "3"}, "ranks: expected 2")):
        done = subprocess.run([BIN / "weft-worker", *group.keys], capture_output=True, text=True,
                              timeout=60, env={**group.environment, **environment})
        assert done.returncode == 2 and problem in done.stderr, done
