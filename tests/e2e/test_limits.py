"""Limits, usage and the response cache of a whole mesh: kill -9 of the gateway and of Redis."""

import json
import threading

import httpx
import pytest
from mesh import wait_until
from redis import Redis


@pytest.fixture
def redis():
    server = Redis()
    yield server
    server.clean_up()


def usage(mesh) -> dict:
    try:
        with mesh.client(timeout=5) as client:
            answer = client.get("/v1/usage")
            data = answer.json()["data"] if answer.status_code == 200 else []
            return data[0] if data else {}
    except httpx.HTTPError:
        return {}


def test_a_killed_gateway_loses_no_token_and_counts_none_twice(fresh_mesh):
    mesh = fresh_mesh(workers=1)
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": model, "prompt": "A story of", "max_tokens": 12, "temperature": 0}
        whole = [client.post("/v1/completions", json=body).json()["usage"] for _ in range(3)]
    seen = []
    reached = threading.Event()

    def stream():
        try:
            with mesh.client() as client, client.stream(
                    "POST", "/v1/completions", json={**body, "max_tokens": 1500, "stream": True}) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        seen.append(json.loads(line[6:]))
                        if len(seen) >= 20:
                            reached.set()
        except httpx.HTTPError:
            pass

    thread = threading.Thread(target=stream)
    thread.start()
    assert reached.wait(60), "the stream does not get on"
    mesh.kill("gateway")
    thread.join(30)
    # What came whole is there, and of the stream what was made: at least what the client saw.
    total = wait_until(lambda: (t := usage(mesh)).get("requests") == 4 and t, timeout=60)
    before = sum(u["completion_tokens"] for u in whole)
    assert before + 20 <= total["completion_tokens"] < before + 1500
    # Another kill while nothing runs changes nothing.
    mesh.kill("gateway")
    again = wait_until(lambda: usage(mesh) or None, timeout=60)
    assert again == total


def test_limits_and_cache_outlive_a_killed_redis(fresh_mesh, redis):
    mesh = fresh_mesh(workers=1, extra={"gateway": {
        "redis": {"url": redis.url, "timeout": "2s"}, "cache": {"enabled": True},
        "limits": {"model": {"requests_per_minute": 100000}}}})
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]

        def ask(seed: int) -> httpx.Response:
            answer = client.post("/v1/completions", json={"model": model, "prompt": "one two", "max_tokens": 4,
                                                          "temperature": 0, "seed": seed})
            assert answer.status_code == 200, answer.text
            return answer

        first = ask(1)
        assert first.headers["x-weft-cache"] == "miss"
        assert ask(1).headers["x-weft-cache"] == "hit"
        assert ask(1).json()["choices"] == first.json()["choices"]
        redis.kill()
        assert ask(2).headers["x-weft-cache"] == "miss"
        assert ask(1).headers["x-weft-cache"] == "hit"
        redis.start()
        wait_until(lambda: mesh.metrics("gateway")["weft_redis_up"] == 1, timeout=30)
        assert ask(3).headers["x-weft-cache"] == "miss"


def test_weftctl_shows_and_drops_what_the_response_cache_holds(fresh_mesh, weftctl):
    mesh = fresh_mesh(workers=1, extra={"gateway": {"cache": {"enabled": True}}})

    def ctl(*args, **options):
        return weftctl("cache", *args, "--home", mesh.home, **options)

    def stats():
        return json.loads(ctl("stats", "--json").stdout)

    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]

        def ask(number):
            answer = client.post("/v1/completions", json={"model": model, "prompt": f"Story {number}:",
                                                          "max_tokens": 4, "temperature": 0})
            assert answer.status_code == 200
            return answer.headers["x-weft-cache"]

        assert [ask(1), ask(2), ask(1)] == ["miss", "miss", "hit"]
        seen = stats()
        assert (seen["enabled"], seen["entries"], seen["hits"], seen["misses"]) == (True, 2, 1, 2)
        assert "2 in" in ctl("stats").stdout
        assert ctl("invalidate", "--model", "another").stdout == "dropped 0 answers\n"
        assert ctl("invalidate", "--tenant", "another").stdout == "dropped 0 answers\n"
        assert ctl("invalidate", "--tenant", "default", "--model", model).stdout == "dropped 2 answers\n"
        assert ask(1) == "miss"
        assert ctl("invalidate", "--pattern", "code_gen:default:*").stdout == "dropped 1 answers\n"
        assert [ask(1), ask(2)] == ["miss", "miss"]
        assert ctl("invalidate", "--all").stdout == "dropped 2 answers\n"
        assert stats()["entries"] == 0
    for wrong in ([], ["--all", "--model", model]):
        refused = ctl("invalidate", *wrong, check=False)
        assert refused.returncode == 2 and "--all alone" in refused.stderr
