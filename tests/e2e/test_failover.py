"""What a client notices when workers die, stop or are crashed: nothing, or one clear error."""

import asyncio
import json
import os
import signal
import threading

import httpx
import pytest

from mesh import wait_until

STREAMS = 100
TOKENS = 40


def questions(model):
    """Half greedy, half with a seed; each prompt is another."""
    asked = []
    for i in range(STREAMS):
        ask = {"model": model, "prompt": f"Story {i}: The weaver of town number {i * 7} said",
               "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
        asked.append({**ask, "temperature": 0} if i % 2 == 0
                     else {**ask, "temperature": 0.9, "top_p": 0.95, "seed": 1000 + i})
    return asked


async def stream_text(client, ask, arrived):
    text, reason = "", None
    async with client.stream("POST", "/v1/completions", json=ask) as response:
        if response.status_code != 200:
            raise AssertionError((await response.aread()).decode())
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            text += event["choices"][0]["text"]
            reason = event["choices"][0]["finish_reason"] or reason
            arrived[0] += 1
    return text, reason


async def all_streams(mesh, model, disturb=None):
    """Texts of all streams; `disturb` runs once a good part of the output is out."""
    arrived = [0]

    async def disturber():
        while arrived[0] < STREAMS * 5:
            await asyncio.sleep(0.01)
        disturb()

    async with mesh.async_client() as client:
        jobs = [stream_text(client, ask, arrived) for ask in questions(model)]
        if disturb:
            jobs.append(disturber())
        return (await asyncio.gather(*jobs))[:STREAMS]


@pytest.fixture(scope="module")
def pair():
    """Two workers, a key without a limit that matters, and what 100 undisturbed streams say."""
    from mesh import Mesh
    mesh = Mesh(workers=2, extra={"scheduler": {"silent_timeout": "2s"}}).start()
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
    calm = asyncio.run(all_streams(mesh, model))
    assert all(reason == "length" for _, reason in calm)
    yield mesh, model, calm
    mesh.clean_up()


@pytest.mark.timeout(300)
def test_kill_9_of_a_worker_changes_no_text(pair):
    mesh, model, calm = pair
    stormy = asyncio.run(all_streams(mesh, model, lambda: mesh.kill("worker-1")))
    assert [t for t, _ in stormy] == [t for t, _ in calm]
    assert [r for _, r in stormy] == [r for _, r in calm]
    wait_until(mesh.all_ready, 30)
    assert mesh.services()["worker-1"]["restarts"] >= 1


@pytest.mark.timeout(300)
def test_a_worker_that_is_stopped_and_woken_doubles_nothing(pair):
    mesh, model, calm = pair
    wait_until(mesh.all_ready, 30)
    pid = mesh.pids()["worker-0"]

    def redispatches():
        return sum(v for k, v in mesh.metrics("scheduler").items()
                   if k.startswith("weft_scheduler_redispatches_total"))

    before = redispatches()

    async def run():
        task = asyncio.create_task(
            all_streams(mesh, model, lambda: os.kill(pid, signal.SIGSTOP)))
        # Woken as soon as its sequences were given to the other worker: it still holds them all.
        while redispatches() == before and not task.done():
            await asyncio.sleep(0.05)
        open_at_waking = not task.done()
        os.kill(pid, signal.SIGCONT)
        return await task, open_at_waking

    stormy, open_at_waking = asyncio.run(run())
    assert open_at_waking, "all streams were over before the worker woke"
    assert [t for t, _ in stormy] == [t for t, _ in calm]
    wait_until(mesh.all_ready, 30)


@pytest.mark.timeout(120)
def test_all_workers_dead_is_a_clear_503(fresh_mesh):
    mesh = fresh_mesh(workers=1, extra={"scheduler": {"no_worker_timeout": "2s",
                                                       "silent_timeout": "1500ms"}})
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        mesh.kill("worker-0", signal.SIGSTOP)
        try:
            response = client.post("/v1/completions", json={
                "model": model, "prompt": "x", "max_tokens": 4}, timeout=60)
            assert response.status_code == 503, response.text
            assert int(response.headers["retry-after"]) >= 1
            assert "worker" in response.json()["error"]["message"]
        finally:
            mesh.kill("worker-0", signal.SIGCONT)

        def works():
            return client.post("/v1/completions", json={
                "model": model, "prompt": "x", "max_tokens": 4}).status_code == 200

        wait_until(works, 30)


@pytest.mark.timeout(180)
def test_a_request_that_crashes_every_worker_fails_alone(fresh_mesh):
    mesh = fresh_mesh(
        workers=2, environment={"WEFT_ALLOW_FAULT_INJECTION": "1"},
        extra={"worker": {"fault_injection": {"crash_text": "<<crash>>",
                                              "crash_after_tokens": 1}}})

    async def run():
        async with mesh.async_client() as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            others = [asyncio.create_task(client.post("/v1/completions", json={
                "model": model, "prompt": f"Number {i} is", "max_tokens": 60, "ignore_eos": True,
                "temperature": 0})) for i in range(6)]
            await asyncio.sleep(0.3)
            poison = await client.post("/v1/completions", json={
                "model": model, "prompt": "<<crash>>", "max_tokens": 4})
            return poison, await asyncio.gather(*others)

    poison, others = asyncio.run(run())
    assert poison.status_code == 500, poison.text
    assert poison.json()["error"]["type"] == "server_error"
    assert [r.status_code for r in others] == [200] * len(others), [r.text for r in others]
    for response in others:
        assert response.json()["usage"]["completion_tokens"] == 60


@pytest.mark.timeout(240)
def test_an_engine_that_hangs_is_taken_out_and_its_streams_go_on(fresh_mesh):
    mesh = fresh_mesh(
        workers=2, environment={"WEFT_ALLOW_FAULT_INJECTION": "1"},
        extra={"worker": {"hang_timeout": "3s", "fault_injection": {"hang_text": "<<hang>>"}},
               "scheduler": {"stall_timeout": "3s", "no_worker_timeout": "60s"}})

    async def run(with_poison):
        async with mesh.async_client() as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            arrived = [0]
            others = [asyncio.create_task(stream_text(client, {
                "model": model, "prompt": f"Number {i} is", "max_tokens": 60, "ignore_eos": True,
                "stream": True, **({"temperature": 0} if i % 2 else {"seed": i})}, arrived))
                for i in range(6)]
            if not with_poison:
                return None, await asyncio.gather(*others)
            while arrived[0] < 6:
                await asyncio.sleep(0.01)
            poison = await client.post("/v1/completions", json={
                "model": model, "prompt": "<<hang>>", "max_tokens": 4})
            return poison, await asyncio.gather(*others)

    _, calm = asyncio.run(run(False))
    poison, stormy = asyncio.run(run(True))
    assert poison.status_code == 500, poison.text  # it hangs whatever runs it, and fails alone
    assert stormy == calm
    lost = mesh.metrics("scheduler")
    assert sum(v for k, v in lost.items()
               if k.startswith("weft_scheduler_worker_losses_total") and 'stalled' in k) >= 2
    # The supervisor ends what says that it does not move.
    wait_until(lambda: mesh.all_ready() and sum(
        s["restarts"] for n, s in mesh.services().items() if n.startswith("worker")) >= 2, 60)


@pytest.mark.timeout(240)
def test_all_workers_killed_is_a_queue_or_a_503_then_work_again(fresh_mesh):
    mesh = fresh_mesh(workers=2, extra={"scheduler": {"no_worker_timeout": "15s"}})
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]

        def ask():
            return client.post("/v1/completions", json={
                "model": model, "prompt": "x", "max_tokens": 8, "temperature": 0})

        before = ask().json()["choices"][0]["text"]

        def kill_workers():
            """And nobody starts them again until the supervisor goes on."""
            mesh.process.send_signal(signal.SIGSTOP)
            for name in list(mesh.pids()):
                if name.startswith("worker"):
                    mesh.kill(name)

        # They come back while the request waits.
        kill_workers()
        timer = threading.Timer(1, lambda: mesh.process.send_signal(signal.SIGCONT))
        timer.start()
        response = ask()
        timer.join()
        assert response.status_code == 200, response.text
        assert response.json()["choices"][0]["text"] == before
        wait_until(mesh.all_ready, 60)
        # They do not come back in time.
        kill_workers()
        try:
            response = ask()
        finally:
            mesh.process.send_signal(signal.SIGCONT)
        assert response.status_code == 503, response.text
        assert int(response.headers["retry-after"]) >= 1
        assert "worker" in response.json()["error"]["message"]
        wait_until(lambda: ask().status_code == 200, 60)
        assert ask().json()["choices"][0]["text"] == before


@pytest.mark.timeout(240)
def test_a_lone_scheduler_that_restarts_costs_a_pause(fresh_mesh):
    mesh = fresh_mesh(workers=1, extra={"scheduler": {"drain_timeout": "300ms"},
                                        "gateway": {"scheduler_wait": "60s"}})

    async def run(disturb):
        async with mesh.async_client() as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            arrived = [0]

            def ask(i):
                return stream_text(client, {
                    "model": model, "prompt": f"Tale {i}:", "max_tokens": 80, "ignore_eos": True,
                    "stream": True, "temperature": 0.7, "seed": i}, arrived)

            tasks = [asyncio.create_task(ask(i)) for i in range(4)]
            while arrived[0] < 12:
                await asyncio.sleep(0.01)
            if disturb:
                mesh.kill("scheduler", signal.SIGTERM)
                await asyncio.sleep(0.1)  # it drains, or is gone: both ways are right
            tasks.append(asyncio.create_task(ask(4)))
            return await asyncio.gather(*tasks)

    calm = asyncio.run(run(False))
    assert asyncio.run(run(True)) == calm
    wait_until(lambda: mesh.services()["scheduler"]["restarts"] == 1)


@pytest.mark.timeout(120)
def test_sigterm_drains_running_streams_and_everything_exits_0(fresh_mesh):
    mesh = fresh_mesh(workers=1)

    async def run():
        async with mesh.async_client() as client:
            model = (await client.get("/v1/models")).json()["data"][0]["id"]
            arrived = [0]
            task = asyncio.create_task(stream_text(client, {
                "model": model, "prompt": "Once", "max_tokens": 60, "ignore_eos": True,
                "stream": True, "temperature": 0}, arrived))
            while arrived[0] < 3:
                await asyncio.sleep(0.01)
            mesh.process.terminate()
            await asyncio.sleep(0.3)
            with pytest.raises(httpx.HTTPError):
                ready = await client.get("/ready", headers={"connection": "close"})
                ready.raise_for_status()
            return await task

    text, reason = asyncio.run(run())
    assert reason == "length" and text
    assert mesh.process.wait(60) == 0, mesh.tail()
    for name in ("gateway", "scheduler", "worker-0", "scanner", "collector"):
        last = (mesh.home / "logs" / f"{name}.log").read_text().splitlines()[-1]
        assert last == "-- exited with 0", f"{name}: {last}"
