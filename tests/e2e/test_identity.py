"""Keys, passwords, sessions and signed requests over HTTP."""

import base64
import hashlib
import hmac
import itertools
import json
import subprocess
import time

import httpx
import pytest

from identity_gateway import PEPPER, SECRET, Gateway, cookies_of, login
from mesh import BIN, free_port, wait_until
from redis import Redis
from signing import v1, v2


@pytest.fixture(scope="module")
def password_hash() -> str:
    done = subprocess.run([BIN / "weftctl", "hash-password"], input="open sesame\n", text=True,
                          capture_output=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, password_hash):
    running = Gateway(tmp_path_factory.mktemp("plain"), free_port(), {
        "users": [{"name": "alice", "role": "developer", "password_hash": password_hash}],
        "failed_logins": 3, "environment": "test",
        "roles": [{"name": "key-maker", "permissions": ["keys:*"]}]})
    yield running
    running.stop()


def test_a_password_gives_a_token_and_signing_out_ends_it(gateway):
    answer = login(gateway, "alice", "open sesame")
    body = answer.json()
    assert answer.status_code == 200 and body["token_type"] == "bearer"
    assert body["expires_in"] == 900 and answer.headers["cache-control"] == "no-store"
    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    me = gateway.me(bearer).json()
    assert me["subject"] == "user:alice" and me["auth_method"] == "token"
    assert "models:use" in me["permissions"] and "keys:read" not in me["permissions"]
    assert httpx.get(f"{gateway.url}/v1/keys", headers=bearer).status_code == 403
    assert httpx.post(f"{gateway.url}/auth/logout", headers=bearer).status_code == 200
    ended = gateway.me(bearer)
    assert ended.status_code == 401
    assert ended.json()["detail"] == "Could not validate credentials"
    assert ended.json()["error"]["code"] == "invalid_token"


def hs256(claims: dict, header: dict | None = None, secret: str = SECRET) -> dict:
    def part(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")
    text = b".".join(part(json.dumps(x).encode())
                     for x in ({"alg": "HS256", "typ": "JWT", **(header or {})}, claims))
    mac = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return {"Authorization": f"Bearer {(text + b'.' + part(mac)).decode()}"}


def test_the_texts_of_requirement_004(gateway):
    now = int(time.time())
    claims = {"iss": "weft", "aud": "weft", "sub": "alice", "exp": now + 60, "jti": "1",
              "src": "local", "tenant": "default"}
    assert gateway.me(hs256(claims)).status_code == 200
    def detail(*args, **more):
        answer = gateway.me(hs256(*args, **more))
        assert answer.status_code == 401
        return answer.json()["detail"]
    assert detail({**claims, "exp": now - 3600}) == "Token has expired"
    assert detail({k: v for k, v in claims.items() if k != "sub"}) == (
        "Invalid authentication credentials")
    for bad in ({**claims, "aud": "x"}, {**claims, "iss": "x"}, {**claims, "sub": "nobody"},
                {k: v for k, v in claims.items() if k != "exp"}, {**claims, "nbf": now + 3600}):
        assert detail(bad) == "Could not validate credentials"
    assert detail(claims, secret=SECRET + "x") == "Could not validate credentials"
    for header in ({"alg": "none"}, {"alg": "HS512"}, {"crit": ["exp"]}, {"jku": "http://x"},
                   {"jwk": {"kty": "oct", "k": "AA"}}, {"x5c": []}):
        assert detail(claims, header) == "Could not validate credentials"


def test_a_session_reads_with_its_cookie_and_writes_with_its_csrf_token(gateway):
    answer = httpx.post(f"{gateway.url}/auth/login", timeout=30, json={
        "username": "alice", "password": "open sesame", "session": True})
    assert answer.status_code == 200 and "access_token" not in answer.json()
    cookies = cookies_of(answer)
    session = {"Cookie": f"a=b; __Host-weft_session={cookies['__Host-weft_session']}"}
    assert gateway.me(session).json()["auth_method"] == "session"
    out = f"{gateway.url}/auth/logout"
    assert httpx.post(out, headers=session).status_code == 403
    assert httpx.post(out, headers={**session, "X-CSRF-Token": "0" * 64}).status_code == 403
    token = {"Authorization": f"Bearer {cookies['__Host-weft_session']}"}
    assert gateway.me(token).status_code == 401
    good = {**session, "X-CSRF-Token": answer.json()["csrf_token"]}
    assert httpx.post(out, headers=good).status_code == 200
    assert gateway.me(session).status_code == 401


def test_too_many_wrong_passwords_are_stopped(gateway):
    wrong, nobody = (login(gateway, name, "x") for name in ("eve", "mallory"))
    assert wrong.status_code == 401 and wrong.json() == nobody.json()
    assert wrong.json()["detail"] == "Invalid authentication credentials"
    for _ in range(2):
        assert login(gateway, "eve", "y").status_code == 401
    stopped = login(gateway, "eve", "z")
    assert stopped.status_code == 429 and "Retry-After" in stopped.headers


def test_signed_requests_come_in_once_with_their_own_body(gateway):
    key = gateway.new_key(role="key-maker")
    body, now = json.dumps({"name": "made by a signed request", "role": "key-maker"}), int(time.time())
    url = f"{gateway.url}/v1/keys"
    def post(headers, content=body, path=url):
        return httpx.post(path, content=content, headers=headers)
    signed = v2(key, now, "0123456789abcdef", "POST", "/v1/keys", body)
    assert post(signed).status_code == 201
    again = post(signed)
    assert again.status_code == 401 and "sent before" in again.text
    fresh = (v2(key, now, f"0123456789abcde{i}", "POST", "/v1/keys", body) for i in range(10))
    assert post(next(fresh), body + " ").status_code == 401
    assert post(next(fresh), path=url + "?x=1").status_code == 401
    assert httpx.put(url, content=body, headers=next(fresh)).status_code in (401, 405)
    assert post(next(fresh), content=iter([body.encode()])).status_code == 201  # in chunks
    assert post(v1(key, now, body)).status_code == 201
    assert post(v1(key, now, body)).status_code == 401
    assert post(v1(key, now - 1, body), body + " ").status_code == 401
    for at in (now - 400, now + 400):
        assert post(v1(key, at, body)).status_code == 401
    assert gateway.me(v1(key, now - 2, "")).json()["auth_method"] == "signature"
    httpx.delete(f"{url}/{key['id']}", headers=gateway.admin)
    assert gateway.me(v1(key, now - 3, "")).status_code == 401


def test_keys_are_narrowed_rotated_and_no_more_than_their_maker(gateway):
    key = gateway.new_key(scopes=["models:read"], allowed_ips=["127.0.0.1"], project="p1")
    assert key["secret"].startswith(f"weft_test_{key['id']}_") and key["project"] == "p1"
    me = gateway.me({"X-API-Key": key["secret"]})
    assert me.status_code == 403  # not even self:read is left
    assert httpx.get(f"{gateway.url}/v1/models", headers={"X-API-Key": key["secret"]}).status_code == 200
    away = gateway.new_key(allowed_ips=["192.0.2.0/24"])
    assert gateway.me({"X-API-Key": away["secret"]}).status_code == 401
    old = gateway.new_key()
    answer = httpx.post(f"{gateway.url}/v1/keys/{old['id']}/rotate", headers=gateway.admin,
                        json={"overlap_seconds": 0})
    assert answer.status_code == 201 and answer.json()["replaces"] == old["id"]
    assert gateway.me({"X-API-Key": old["secret"]}).status_code == 401
    assert gateway.me({"X-API-Key": answer.json()["secret"]}).status_code == 200
    maker = {"X-API-Key": gateway.new_key(role="key-maker")["secret"]}
    def make(**fields):
        return httpx.post(f"{gateway.url}/v1/keys", headers=maker, json={"name": "x", **fields})
    assert make(role="key-maker").status_code == 201
    assert make(role="developer").status_code == 403
    assert make(role="admin").status_code == 403
    assert make(role="key-maker", tenant="other").status_code == 403
    for field, bad in (("scopes", ["x"]), ("allowed_ips", ["x"]), ("allowed_models", ["*x"])):
        answer = httpx.post(f"{gateway.url}/v1/keys", headers=gateway.admin,
                            json={"name": "x", field: bad})
        assert answer.status_code == 400 and answer.json()["error"]["param"] == field


def test_a_key_ends_within_a_second_in_another_gateway(gateway, tmp_path):
    other = Gateway(tmp_path, free_port(), {}, database=gateway.database)
    try:
        def seconds() -> float:
            key = gateway.new_key()
            header = {"X-API-Key": key["secret"]}
            with httpx.Client(base_url=other.url, headers=header) as client:
                assert client.get("/auth/me").status_code == 200
                httpx.delete(f"{gateway.url}/v1/keys/{key['id']}", headers=gateway.admin)
                began = time.monotonic()
                assert gateway.me(header).status_code == 401
                wait_until(lambda: client.get("/auth/me").status_code == 401, 30, 0.02)
            return time.monotonic() - began
        # A busy machine may be slow once.
        assert any(seconds() < 1.0 for _ in range(5))
    finally:
        other.stop()


@pytest.fixture
def two_gateways(tmp_path, password_hash):
    """On one database and one Redis; the second one's clock is the same machine's."""
    redis = Redis()
    made = []
    try:
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            made.append(Gateway(folder, free_port(), {"users": [
                {"name": "alice", "role": "developer", "password_hash": password_hash}]},
                database=str(tmp_path / "gateway.db"), redis={"url": redis.url}))
        yield made, redis
    finally:
        for gateway in made:
            gateway.stop()
        redis.clean_up()


def test_what_ended_in_one_gateway_has_ended_in_the_other(two_gateways):
    (one, other), redis = two_gateways
    # A token that signed out, and a signature that was used.
    bearer = {"Authorization": f"Bearer {login(one, 'alice', 'open sesame').json()['access_token']}"}
    assert other.me(bearer).status_code == 200
    assert httpx.post(f"{one.url}/auth/logout", headers=bearer).status_code == 200
    assert other.me(bearer).status_code == 401
    signer, now = one.new_key(), int(time.time())
    first, second = (v2(signer, now, f"0123456789abcde{n}", "GET", "/auth/me", "") for n in (1, 2))
    old = v1(signer, now, "")
    for signed in (first, old):
        assert one.me(signed).json()["auth_method"] == "signature"
        assert "sent before" in other.me(signed).text
    # While nobody can say whether it was used, it is not taken.
    redis.kill()
    away = wait_until(lambda: (answer := other.me(second)).status_code == 503 and answer, 10)
    assert "Retry-After" in away.headers
    assert other.me({"X-API-Key": signer["secret"]}).status_code == 200
    redis.start()
    nonces = (f"{n:032d}" for n in itertools.count())
    wait_until(lambda: other.me(v2(signer, now, next(nonces), "GET", "/auth/me", "")).status_code == 200, 20)


def test_the_time_of_last_use_is_shown(gateway):
    key = gateway.new_key()
    assert key["last_used_at"] == 0
    now = int(time.time())
    assert gateway.me({"X-API-Key": key["secret"]}).status_code == 200

    def last_used() -> int:
        keys = httpx.get(f"{gateway.url}/v1/keys", headers=gateway.admin).json()["data"]
        return next(k["last_used_at"] for k in keys if k["id"] == key["id"])
    wait_until(lambda: now <= last_used() <= time.time(), 30, 0.2)


def test_who_guesses_keys_is_stopped_logged_and_counted(tmp_path):
    gateway = Gateway(tmp_path, free_port(), {}, failed_auth={"per_minute": 20})
    try:
        good = {"X-API-Key": gateway.new_key()["secret"]}
        assert gateway.me(good).status_code == 200
        def guess(n: int) -> httpx.Response:
            return gateway.me({"X-API-Key": f"weft_dev_0123456789ab_{n:043d}000000"})
        answers = []
        while len(answers) < 20 or answers[-1].status_code == 401:  # one more is let in every 3 s
            answers.append(guess(len(answers)))
            assert len(answers) < 200
        assert [answer.status_code for answer in answers[:20]] == [401] * 20
        stopped = answers[-1]
        assert stopped.status_code == 429 and int(stopped.headers["Retry-After"]) >= 1
        assert stopped.json()["error"]["code"] == "too_many_failed_authentications"
        assert gateway.me(good).status_code == 200  # who was good from here stays so
        assert gateway.failures("bad_key") >= 20 and gateway.failures("throttled") >= 1
        def logged() -> list:
            lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if "401" in line]
            return [line for line in lines if line.get("status") == 401]
        refused = wait_until(lambda: len(logged()) >= 20 and logged())
        assert all(line["remote_address"] == "127.0.0.1" for line in refused)
    finally:
        gateway.stop()


def test_bound_roles_count_and_a_users_last_sign_in_is_kept(gateway):
    def post(path: str, body: dict) -> dict:
        answer = httpx.post(f"{gateway.url}/v1/admin/{path}", headers=gateway.admin, json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        return answer.json()
    user = post("users", {"username": "bea", "role": "viewer", "password": "correct horse battery"})
    token = login(gateway, "bea", "correct horse battery").json()["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert gateway.me(bearer).json()["roles"] == ["viewer"]
    post("role_bindings", {"subject_kind": "user", "subject_id": "bea", "role": "auditor"})
    wait_until(lambda: gateway.me(bearer).json()["roles"] == ["viewer", "auditor"], 10)
    key = gateway.new_key(role="viewer")
    header = {"X-API-Key": key["secret"]}
    assert gateway.me(header).json()["roles"] == ["viewer"]
    post("role_bindings", {"subject_kind": "key", "subject_id": key["id"], "role": "auditor"})
    wait_until(lambda: gateway.me(header).json()["roles"] == ["viewer", "auditor"], 10)
    shown = httpx.get(f"{gateway.url}/v1/admin/users/{user['id']}", headers=gateway.admin).json()
    assert shown["last_login_at"] > 0
