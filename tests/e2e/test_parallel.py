"""Workers whose model is computed by several ranks."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from mesh import wait_until
from test_failover import stream_text

RANKS = {"worker": {"tensor_parallel": 3, "hang_timeout": "5s"}}

# Stops one thread of another process, and keeps it so until the process ends: what a kernel that never
# returns looks like to the other ranks. PTRACE_SEIZE, PTRACE_INTERRUPT, __WALL: <sys/ptrace.h>, wait(2).
STOP_THREAD = """
import ctypes, os, sys
tid, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
for request in (0x4206, 0x4207):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(tid, 0x40000000)
print("stopped", flush=True)
try:
    while True:
        os.waitpid(tid, 0x40000000)
except ChildProcessError:
    pass  # it has ended
"""


def rank_threads(pid: int) -> dict[str, int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    names = {(task / "comm").read_text().strip(): int(task.name) for task in tasks}
    return {name: tid for name, tid in names.items() if name.startswith("weft-rank-")}


@pytest.mark.timeout(240)
def test_three_ranks_answer_a_chat(fresh_mesh):
    mesh = fresh_mesh(workers=1, extra=RANKS)
    assert sorted(rank_threads(mesh.pids()["worker-0"])) == ["weft-rank-1", "weft-rank-2"]
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        ask = {"model": model, "temperature": 0, "max_tokens": 40,
               "messages": [{"role": "user", "content": "What is gravity?"}]}
        answers = [client.post("/v1/chat/completions", json=ask, timeout=120) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200], [a.text for a in answers]
    texts = [a.json()["choices"][0]["message"]["content"] for a in answers]
    assert texts[0].startswith("Gravity is a fundamental concept in physics")
    assert texts[0] == texts[1]


@pytest.mark.timeout(300)
def test_a_rank_that_hangs_ends_its_worker_and_the_streams_go_on(fresh_mesh):
    mesh = fresh_mesh(workers=2, extra=RANKS)
    stopper = None

    async def run(hurt):
        nonlocal stopper
        async with mesh.async_client() as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            arrived = [0]
            streams = [asyncio.create_task(stream_text(client, {
                "model": model, "prompt": f"Number {i} is", "max_tokens": 80, "ignore_eos": True,
                "stream": True, **({"temperature": 0} if i % 2 else {"seed": i})}, arrived))
                for i in range(6)]
            if hurt:
                while arrived[0] < 6:
                    await asyncio.sleep(0.01)
                tid = rank_threads(mesh.pids()["worker-0"])["weft-rank-2"]
                stopper = subprocess.Popen([sys.executable, "-c", STOP_THREAD, str(tid)],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                if stopper.stdout.readline() != b"stopped\n":
                    pytest.skip(f"no thread can be stopped here: {stopper.stderr.read()}")
            return await asyncio.gather(*streams)

    calm = asyncio.run(run(False))
    stormy = asyncio.run(run(True))
    assert stormy == calm
    # The worker ended, by itself or by the supervisor; it has been started again.
    assert stopper.wait(60) == 0
    wait_until(lambda: mesh.all_ready() and mesh.services()["worker-0"]["restarts"] >= 1, 60)
