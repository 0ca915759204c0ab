"""No secret that goes through a mesh is in what it writes or says: logs, traces, metrics, errors, the audit, its
files."""

import json
import subprocess
import time

import grpc
import httpx
import pytest

from identity_gateway import PEPPER, SECRET, cookies_of
from mesh import BIN, SERVICES, wait_until
from signing import v1, v2

PASSWORD, WRONG = "open sesame, alice's own", "nearly open sesame, alice's own"
CONFIGURATION = {"mesh.yaml", "admin.key"}  # whose matter it is to hold secrets


@pytest.fixture
def company(fresh_mesh):
    hashed = subprocess.run([BIN / "weftctl", "hash-password"], input=PASSWORD + "\n", text=True, capture_output=True,
                            check=True)
    return fresh_mesh(workers=1, extra={"gateway": {
        "key_pepper": PEPPER, "audit_key": "the audit's key, which is one too",
        "identity": {"jwt_secret": SECRET, "users": [
            {"name": "alice", "role": "developer", "password_hash": hashed.stdout.strip()}]}}})


class Talk:
    """Every answer that is not the one that hands out a secret."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.shown: list[str] = []
        self.client = httpx.Client(base_url=mesh.url, timeout=60)

    def ask(self, method: str, path: str, headers: dict | None = None, **more) -> httpx.Response:
        answer = self.client.request(method, path, headers=headers or {}, **more)
        self.shown.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer

    def given(self, path: str, body: dict, headers: dict | None = None) -> httpx.Response:
        answer = self.client.post(path, headers=headers or {}, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer


def secret_part(key: str) -> str:
    return key.rsplit("_", 1)[1]


def test_no_secret_is_in_what_a_mesh_writes_and_says(company, stubs):
    mesh, talk = company, Talk(company)
    admin = mesh.headers()
    model = talk.ask("GET", "/v1/models", admin).json()["data"][0]["id"]
    key = talk.given("/v1/keys", {"name": "one"}, admin).json()
    rotated = talk.given(f"/v1/keys/{key['id']}/rotate", {}, admin).json()
    token = talk.given("/auth/login", {"username": "alice", "password": PASSWORD}).json()["access_token"]
    session = cookies_of(talk.given("/auth/login", {"username": "alice", "password": PASSWORD, "session": True}))
    cookie, csrf = session["__Host-weft_session"], session["__Host-weft_csrf"]
    text, now = key["secret"], int(time.time())
    body = json.dumps({"model": model, "prompt": "A story of", "max_tokens": 3})
    signed = [v1(rotated, now, body), v2(rotated, now, "0123456789abcdef", "POST", "/v1/completions", body)]

    # Good uses, whole and streamed: each makes spans, log lines, usage and a row of the audit.
    for headers in ({"X-API-Key": text}, {"Authorization": f"Bearer {rotated['secret']}"},
                    {"Authorization": f"Bearer {token}"},
                    {"Cookie": f"__Host-weft_session={cookie}", "X-CSRF-Token": csrf}, *signed):
        answer = talk.ask("POST", "/v1/completions", {"Content-Type": "application/json", **headers}, content=body)
        assert answer.status_code == 200, answer.text
    stream = {**json.loads(body), "stream": True}
    assert "[DONE]" in talk.ask("POST", "/v1/completions", {"X-API-Key": text}, json=stream).text

    # Bad ones, and secrets where they do not belong.
    for headers in ({"X-API-Key": text + "x"}, {"Authorization": f"Basic {text}"}, {"Authorization": text},
                    {"Authorization": f"Bearer {text[:-1]}"}, {"Authorization": f"Bearer {token}x"},
                    {"Authorization": f"Bearer {cookie}"}, {"Cookie": f"__Host-weft_session={token}"},
                    {"Cookie": f"__Host-weft_session={cookie}x"}, {"User-Agent": text, "X-API-Key": text},
                    {"X-Request-Id": text, "X-API-Key": text}, {"traceparent": f"00-{text}", "X-API-Key": text},
                    {"Idempotency-Key": text, "X-API-Key": text}, *signed):
        talk.ask("POST", "/v1/completions", {"Content-Type": "application/json", **headers}, content=body)
    for method, path in (("GET", f"/v1/{text}"), ("GET", f"/v1/models/{text}"), ("GET", f"/v1/keys?tenant={text}"),
                         ("DELETE", f"/v1/keys/{text}"), ("GET", f"/v1/models?key={text}"), (text[:20], "/v1/models")):
        talk.ask(method, path, admin)
    for path, wrong in (("/v1/keys", {"name": "x", "role": text}), ("/v1/keys", {"name": "x", text: 1}),
                        ("/v1/completions", {"model": text, "prompt": text}),
                        ("/v1/completions", {"model": model, "prompt": "x", "user": text, text: 1}),
                        ("/v1/admin/users", {"username": "bob", "role": text}),
                        (f"/v1/admin/{text}", {})):
        talk.ask("POST", path, admin, json=wrong)
    for login in ({"username": "alice", "password": WRONG}, {"username": text, "password": PASSWORD},
                  {"username": "alice", "password": WRONG, "tenant": text}, {"username": "alice", "pasword": PASSWORD}):
        talk.ask("POST", "/auth/login", json=login)
    assert talk.ask("POST", "/auth/logout", {"Authorization": f"Bearer {token}"}).status_code == 200

    from weft.v1 import admin_pb2, admin_pb2_grpc, inference_pb2, inference_pb2_grpc
    with grpc.insecure_channel(f"127.0.0.1:{mesh.ports['grpc']}") as channel:
        keys = admin_pb2_grpc.AdminServiceStub(channel)
        made = keys.CreateKey(admin_pb2.CreateKeyRequest(name="two"), timeout=30,
                              metadata=[("x-api-key", mesh.admin_key)])
        inference = inference_pb2_grpc.InferenceServiceStub(channel)
        for metadata in ([("x-api-key", made.secret)], [("x-api-key", made.secret + "x")],
                         [("authorization", f"Bearer {token}")], [("authorization", made.secret)]):
            try:
                inference.ListModels(inference_pb2.ListModelsRequest(), timeout=30, metadata=metadata)
            except grpc.RpcError as error:
                talk.shown.append(f"{error.details()} {error.trailing_metadata()}")
        try:
            keys.RevokeKey(admin_pb2.RevokeKeyRequest(id=made.secret), timeout=30,
                           metadata=[("x-api-key", mesh.admin_key)])
        except grpc.RpcError as error:
            talk.shown.append(f"{error.details()} {error.trailing_metadata()}")

    for tenant in ("default", "*"):
        talk.ask("GET", f"/v1/admin/audit?tenant={tenant}&limit=999", admin)
    talk.ask("GET", "/v1/keys", admin)
    talk.ask("GET", "/v1/usage", admin)
    talk.ask("GET", "/v1/cache", admin)
    talk.ask("GET", "/metrics")
    for service in mesh.services():
        talk.shown.append(httpx.get(f"http://127.0.0.1:{mesh.admin_port(service)}/metrics").text)
    last = talk.ask("GET", "/auth/me", admin).headers["x-request-id"]
    wait_until(lambda: mesh.spans_file.exists() and last in mesh.spans_file.read_text(), 30)
    mesh.stop(expect_clean=True)

    files = {path.relative_to(mesh.home): path for path in mesh.home.rglob("*") if path.is_file()}
    written = {str(name): path.read_bytes() for name, path in files.items() if str(name) not in CONFIGURATION}
    logs = b"".join(data for name, data in written.items() if name.startswith("logs/"))
    assert all(f"logs/{service}.log" in " ".join(written).replace("worker-0", "worker") for service in SERVICES)
    everything = {"answers and metrics": "\n".join(talk.shown).encode(), **written}
    # The search would find what is there.
    assert key["id"].encode() in logs and key["id"].encode() in everything["answers and metrics"]
    assert made.key.id.encode() in everything["answers and metrics"]

    secrets = {"a key": secret_part(text), "its successor": secret_part(rotated["secret"]),
               "a key made over gRPC": secret_part(made.secret), "the first key": secret_part(mesh.admin_key),
               "a signing secret": key["signing_secret"][5:], "its successor's": rotated["signing_secret"][5:],
               "a token's signature": token.rsplit(".", 1)[1], "a session's": cookie.rsplit(".", 1)[1],
               "a CSRF token": csrf, "a password": PASSWORD, "a wrong password": WRONG, "jwt_secret": SECRET,
               "key_pepper": PEPPER, "audit_key": "the audit's key, which is one too",
               "a signature, first form": signed[0]["X-Weft-Signature"],
               "a signature, second form": signed[1]["Authorization"].rsplit("sig=", 1)[1]}
    # The terminal shows the first key, once.
    everything["supervisor.out"] = everything["supervisor.out"].replace(mesh.admin_key.encode(), b"", 1)
    found = [(what, where) for what, secret in secrets.items() for where, data in everything.items()
             if secret.encode() in data or secret[:24].encode() in data]
    assert not found
