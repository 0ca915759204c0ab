"""REST beyond what the client libraries show: shapes on the wire, limits, bad input."""

import json
import re
import socket
import time

import httpx
import pytest

from mesh import sse_events, wait_until

HELLO = [{"role": "user", "content": "Say hello."}]


def chat(client, model, **values):
    return client.post("/v1/chat/completions",
                       json={"model": model, "messages": HELLO, "max_tokens": 8, **values})


def error_of(response, status):
    """The OpenAI error object; never a path or a stack."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    for word in ("/usr", "/home", "/tmp", ".cc:", "Traceback", "std::"):
        assert word not in error["message"]
    return error


def test_server_sent_events_have_openais_shape(mesh, model):
    with mesh.client() as client:
        response = chat(client, model, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = sse_events(response)
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    for chunk in chunks:
        assert set(chunk) >= {"id", "object", "created", "model", "choices"}
    assert chunks[0]["choices"][0]["delta"].get("role") == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    # Every event is one data line and a blank one.
    assert response.text.count("\n\n") == len(events)


def test_an_unknown_model_is_404_and_named(mesh, model):
    with mesh.client() as client:
        error = error_of(chat(client, "no-such-model"), 404)
    assert error["code"] == "model_not_found" and "no-such-model" in error["message"]


@pytest.mark.parametrize("values, param", [
    ({"max_tokens": -1}, "max_tokens"),
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"stop": ["x"] * 50}, "stop"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
])
def test_bad_parameters_are_400_and_named(mesh, model, values, param):
    with mesh.client() as client:
        error = error_of(chat(client, model, **values), 400)
    assert error["param"] is not None and error["param"].startswith(param)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'{"model": 1}', b'{"model": "\xff\xfe"}', b'{"a":' * 5000,
    b'{"model": "a", "model": "b", "messages": []}', b"[" * 100000,
])
def test_bad_json_is_400(mesh, body):
    with mesh.client() as client:
        error_of(client.post("/v1/chat/completions", content=body,
                             headers={"content-type": "application/json"}), 400)


def test_a_10_mb_prompt_is_refused_clearly(mesh, model):
    with mesh.client() as client:
        response = chat(client, model, messages=[{"role": "user", "content": "word " * 2_000_000}])
        assert response.status_code in (400, 413), response.text
        assert response.json()["error"]["message"]
        assert chat(client, model).status_code == 200


def test_a_prompt_beyond_the_context_is_400(mesh, model):
    with mesh.client() as client:
        response = client.post("/v1/completions", json={
            "model": model, "prompt": "a b c d " * 2500, "max_tokens": 5})
        error = error_of(response, 400)
    assert error["code"] == "context_length_exceeded"


def test_no_key_and_a_wrong_key_are_401(mesh):
    for headers in ({}, {"Authorization": "Bearer weft_nope"}, {"X-API-Key": "nope"},
                    {"Authorization": "Basic eDp5"}):
        response = httpx.get(f"{mesh.url}/v1/models", headers=headers)
        error = error_of(response, 401)
        assert error["code"] == "invalid_api_key"
        assert "nope" not in error["message"]


def test_the_key_is_taken_from_x_api_key_too(mesh):
    assert httpx.get(f"{mesh.url}/v1/models", headers={"X-API-Key": mesh.admin_key}).status_code == 200


def test_a_key_has_its_own_rate_and_says_when_to_come_back(mesh, weftctl):
    secret = weftctl("keys", "create", "--name", "slow", "--requests-per-minute", 3, "--home",
                     mesh.home).stdout.strip()
    headers = {"Authorization": f"Bearer {secret}"}
    answers = [httpx.get(f"{mesh.url}/v1/models", headers=headers) for _ in range(6)]
    assert answers[0].status_code == 200
    limited = [a for a in answers if a.status_code == 429]
    assert limited, [a.status_code for a in answers]
    error = error_of(limited[0], 429)
    assert error["code"] == "rate_limit_exceeded"
    assert int(limited[0].headers["retry-after"]) >= 1
    assert any(name.lower().startswith("ratelimit") for name in limited[0].headers)


def test_a_key_asks_for_no_more_priority_than_it_has(mesh, model, weftctl):
    def ask(max_priority, priority):
        made = json.loads(weftctl("keys", "create", "--name", "p", "--max-priority", max_priority,
                                  "--json", "--home", mesh.home).stdout)
        assert made["max_priority"] == max_priority
        return httpx.post(f"{mesh.url}/v1/completions", timeout=60,
                          headers={"Authorization": f"Bearer {made['secret']}"},
                          json={"model": model, "prompt": "Hi", "max_tokens": 1,
                                "priority": priority})

    assert ask("high", "high").status_code == 200
    assert ask("low", None).status_code == 200
    error_of(ask("low", "normal"), 403)


def test_a_revoked_key_ends_within_a_second(mesh, weftctl):
    made = json.loads(weftctl("keys", "create", "--name", "brief", "--json", "--home",
                              mesh.home).stdout)
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert httpx.get(f"{mesh.url}/v1/models", headers=headers).status_code == 200
    listed = json.loads(weftctl("keys", "list", "--json", "--home", mesh.home).stdout)
    assert made["id"] in [key["id"] for key in listed]
    assert all("secret" not in key for key in listed)
    weftctl("keys", "revoke", made["id"], "--home", mesh.home)
    wait_until(lambda: httpx.get(f"{mesh.url}/v1/models", headers=headers).status_code == 401, 2)


def test_a_client_that_goes_away_frees_the_worker(mesh, model):
    body = json.dumps({"model": model, "messages": HELLO, "max_tokens": 1500, "stream": True,
                       "ignore_eos": True})
    with socket.create_connection(("127.0.0.1", mesh.ports["rest"])) as raw:
        raw.sendall((f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                     f"{mesh.admin_key}\r\nContent-Type: application/json\r\nContent-Length: "
                     f"{len(body)}\r\n\r\n{body}").encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: mesh.worker_gauge("weft_num_requests_running") >= 1, 10, 0.01)
    wait_until(lambda: mesh.worker_gauge("weft_num_requests_running") == 0)


def test_a_bad_traceparent_starts_a_new_trace(mesh, model):
    with mesh.client(headers={**mesh.headers(), "traceparent": "00-zz-yy-01"}) as client:
        answers = [chat(client, model) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    traces = [re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-0[01]", answer.headers["traceparent"])[1]
              for answer in answers]
    assert traces[0] != traces[1] and "0" * 32 not in traces


def test_generate_answers_and_needs_a_prompt(mesh):
    with mesh.client() as client:
        response = client.post("/generate", json={"prompt": "def add(a, b):", "max_tokens": 8,
                                                  "language": "python"})
        assert response.status_code == 200, response.text
        error_of(client.post("/generate", json={"max_tokens": 8}), 400)


def test_predict_and_model_pages(mesh, model):
    with mesh.client() as client:
        answer = client.post("/predict", json={"input": "Hello", "model_id": "default"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["prediction"] and answer.json()["request_id"]
        assert client.get(f"/models/{model}").status_code == 200
        error_of(client.get("/models/none"), 404)


def test_health_pages_and_the_api_description(mesh):
    assert httpx.get(f"{mesh.url}/health").json() == {"status": "healthy", "model_loaded": True}
    assert httpx.get(f"{mesh.url}/ready").status_code == 200
    assert set(httpx.get(f"{mesh.url}/api/health").json()) >= {"status", "timestamp", "version"}
    document = httpx.get(f"{mesh.url}/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/generate", "/predict"} <= set(
        document["paths"])


def test_slow_headers_do_not_hold_others_up(mesh):
    slow = [socket.create_connection(("127.0.0.1", mesh.ports["rest"])) for _ in range(20)]
    for one in slow:
        one.sendall(b"GET /health HTTP/1.1\r\nHost")
    start = time.monotonic()
    assert httpx.get(f"{mesh.url}/health").status_code == 200
    assert time.monotonic() - start < 2
    for one in slow:
        one.close()


def test_a_half_closed_client_still_gets_its_answer(mesh):
    with socket.create_connection(("127.0.0.1", mesh.ports["rest"])) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(5)
        assert raw.recv(1000).startswith(b"HTTP/1.1 200")
