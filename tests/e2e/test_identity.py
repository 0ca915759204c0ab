"""Keys, passwords, sessions and signed requests over HTTP; a real OpenID provider (npm oidc-provider) and
a real directory (slapd)."""

import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path

import httpx
import pytest
import yaml

from mesh import BIN, ROOT, wait_until
from slapd import Slapd

HOME = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
SECRET = "a token secret of at least 32 bytes!"
PEPPER = "a pepper of at least thirty-two bytes"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Gateway:
    """weft-gateway alone: nothing here needs a model."""

    def __init__(self, folder: Path, port: int, identity: dict, database: str = ""):
        self.url = f"http://127.0.0.1:{port}"
        self.database = database or str(folder / "gateway.db")
        config = {"gateway": {
            "listen": f"127.0.0.1:{port}", "grpc_listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0", "scanner": "",
            "scheduler": f"unix:{folder}/none.sock", "database": self.database,
            "admin_key_file": str(folder / "admin.key"), "key_pepper": PEPPER,
            "identity": {"jwt_secret": SECRET, **identity}}}
        (folder / "weft.yaml").write_text(yaml.safe_dump(config))
        self.log = folder / "gateway.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [BIN / "weft-gateway", "--config", folder / "weft.yaml"], stdout=log, stderr=log)
        wait_until(self.is_up, 20)
        self.admin = {"X-API-Key": (folder / "admin.key").read_text().strip()}

    def new_key(self, **fields) -> dict:
        answer = httpx.post(f"{self.url}/v1/keys", headers=self.admin, json={"name": "x", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def me(self, headers: dict) -> httpx.Response:
        return httpx.get(f"{self.url}/auth/me", headers=headers)

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    done = subprocess.run([BIN / "weftctl", "hash-password"], input="open sesame\n", text=True,
                          capture_output=True, check=True)
    running = Gateway(tmp_path_factory.mktemp("plain"), free_port(), {
        "users": [{"name": "alice", "role": "developer", "password_hash": done.stdout.strip()}],
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
    import base64
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


def v1(key: dict, at: int, body: str) -> dict:
    mac = hmac.new(key["signing_secret"].encode(), f"{at}:{body}".encode(), hashlib.sha256)
    return {"X-Weft-Key-Id": key["id"], "X-Weft-Timestamp": str(at),
            "X-Weft-Signature": mac.hexdigest(), "Content-Type": "application/json"}


def v2(key: dict, at: int, nonce: str, method: str, target: str, body: str) -> dict:
    digest = hashlib.sha256(body.encode()).hexdigest()
    text = "\n".join(["v2", method, target, key["id"], str(at), nonce, digest])
    mac = hmac.new(key["signing_secret"].encode(), text.encode(), hashlib.sha256).hexdigest()
    return {"Authorization": f"WEFT-HMAC-SHA256 key={key['id']}, ts={at}, nonce={nonce}, "
                             f"body={digest}, sig={mac}", "Content-Type": "application/json"}


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
        key = gateway.new_key()
        header = {"X-API-Key": key["secret"]}
        assert other.me(header).status_code == 200
        httpx.delete(f"{gateway.url}/v1/keys/{key['id']}", headers=gateway.admin)
        began = time.monotonic()
        wait_until(lambda: other.me(header).status_code == 401, 10, 0.02)
        assert time.monotonic() - began < 1.0
    finally:
        other.stop()


def test_no_secret_is_in_answers_logs_metrics_or_the_audit(gateway):
    key = gateway.new_key()
    token = login(gateway, "alice", "open sesame").json()["access_token"]
    text, signing, url = key["secret"], key["signing_secret"], gateway.url
    shown = []
    def ask(method, path, headers=None, **more):
        answer = httpx.request(method, url + path, headers=headers or {}, timeout=30, **more)
        shown.append(str(answer.headers) + answer.text)
    ask("GET", f"/v1/{text}")
    ask("GET", f"/v1/models/{text}", gateway.admin)
    ask("GET", f"/v1/keys?tenant={text}", gateway.admin)
    ask("DELETE", f"/v1/keys/{text}", gateway.admin)
    ask("POST", "/v1/keys", gateway.admin, json={"name": "x", "role": text})
    ask("POST", "/v1/keys", gateway.admin, json={"name": "x", text: 1})
    ask("POST", "/auth/login", json={"username": text, "password": "open sesame"})
    ask("POST", "/v1/completions", gateway.admin, json={"model": text, "prompt": text})
    for headers in ({"X-API-Key": text + "x"}, {"Authorization": f"Basic {text}"},
                    {"Authorization": text}, {"Authorization": f"Bearer {text[:-1]}"},
                    {"Authorization": f"Bearer {token}x"},
                    {"Cookie": f"__Host-weft_session={token}"},
                    {"User-Agent": text, "X-API-Key": text},
                    {"X-Weft-Key-Id": text, "X-Weft-Timestamp": "1", "X-Weft-Signature": signing}):
        ask("GET", "/v1/models", headers)
    ask("GET", "/metrics")
    ask("GET", "/v1/keys", gateway.admin)
    time.sleep(0.5)  # the log's writer
    shown.append(gateway.log.read_text())
    everything = "".join(shown)
    assert key["id"] in everything
    for secret in (text.rsplit("_", 1)[1], signing, token, "open sesame", SECRET, PEPPER,
                   gateway.admin["X-API-Key"].rsplit("_", 1)[1]):
        assert secret[:30] not in everything, secret


@pytest.fixture(scope="module")
def provider_and_gateway(tmp_path_factory):
    port = free_port()
    callback = f"http://127.0.0.1:{port}/auth/oidc/callback"
    provider = subprocess.Popen(
        ["node", ROOT / "tests/e2e/node/oidc_provider.mjs", (HOME / "node").resolve(), callback,
         "weft-api"], stdout=subprocess.PIPE, text=True)
    issuer = json.loads(provider.stdout.readline())["issuer"]
    common = {"issuer": issuer, "audiences": ["weft-api"], "allow_http": True,
              "tenant_claim": "org", "roles": {"devs": "developer", "robots": "viewer"},
              "redirect_uri": callback, "scopes": ["openid", "profile"]}
    gateway = Gateway(tmp_path_factory.mktemp("oidc"), port, {"oidc": [
        {**common, "name": name, "client_id": name,
         "client_secret": f"{name} secret, long enough for anything"}
        for name in ("web", "web-ec")]})
    yield issuer, gateway
    gateway.stop()
    provider.terminate()
    provider.wait(30)


def begin(gateway: Gateway, provider: str = "web", return_to: str = "/auth/me"):
    """Where the browser is sent, and the gateway's cookie."""
    def ask():
        return httpx.get(f"{gateway.url}/auth/oidc/login",
                         params={"provider": provider, "return_to": return_to})
    wait_until(lambda: ask().status_code == 302, 20)  # 503 until discovery
    answer = ask()
    assert "HttpOnly" in answer.headers["set-cookie"] and "Secure" in answer.headers["set-cookie"]
    return answer.headers["location"], answer.headers["set-cookie"].split(";")[0]


def sign_in(url: str, user: str) -> str:
    """Follows the provider's pages as a browser does; the URL it ends with is the callback's."""
    with httpx.Client() as browser:
        answer = browser.get(url)
        for _ in range(12):
            if answer.status_code in (302, 303):
                target = urllib.parse.urljoin(str(answer.request.url), answer.headers["location"])
                if "/auth/oidc/callback" in target:
                    return target
                answer = browser.get(target)
                continue
            assert answer.status_code == 200, answer.text
            action = re.search(r'action="([^"]+)"', answer.text).group(1)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text).group(1)
            answer = browser.post(urllib.parse.urljoin(str(answer.request.url), action),
                                  data={"prompt": prompt, "login": user, "password": "any"})
    raise AssertionError("the provider did not send the browser back")


def cookies_of(answer: httpx.Response) -> dict:
    return dict(line.split(";")[0].split("=", 1)
                for line in answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize("provider", ["web", "web-ec"])
def test_a_browser_signs_in_with_code_and_pkce_and_out_again(provider_and_gateway, provider):
    _, gateway = provider_and_gateway
    url, login_cookie = begin(gateway, provider)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"] and query["response_type"] == ["code"]
    target = sign_in(url, "alice")
    answer = httpx.get(target, headers={"Cookie": login_cookie})
    assert answer.status_code == 302 and answer.headers["location"] == "/auth/me", answer.text
    cookies = cookies_of(answer)
    for line in answer.headers.get_list("set-cookie"):
        assert "Secure" in line and "Path=/" in line and "SameSite=" in line
    session = {"Cookie": f"__Host-weft_session={cookies['__Host-weft_session']}"}
    me = httpx.get(f"{gateway.url}/auth/me", headers=session).json()
    assert me["auth_method"] == "session" and me["tenant"] == "red"
    assert me["roles"] == ["developer"] and me["subject"] == f"user:oidc:{provider}:alice"
    # The code is good once, and for the browser that asked for it.
    assert httpx.get(target, headers={"Cookie": login_cookie}).status_code == 401
    assert httpx.get(target).status_code == 401
    out = f"{gateway.url}/auth/logout"
    assert httpx.post(out, headers=session).status_code == 403
    csrf = {"X-CSRF-Token": cookies["__Host-weft_csrf"]}
    assert httpx.post(out, headers={**session, **csrf}).status_code == 200
    assert httpx.get(f"{gateway.url}/auth/me", headers=session).status_code == 401


def test_another_browsers_answer_is_refused(provider_and_gateway):
    _, gateway = provider_and_gateway
    url, _ = begin(gateway)
    _, other_cookie = begin(gateway)
    target = sign_in(url, "alice")
    assert httpx.get(target, headers={"Cookie": other_cookie}).status_code == 401


def test_who_has_no_role_here_does_not_come_in(provider_and_gateway):
    _, gateway = provider_and_gateway
    url, cookie = begin(gateway)
    assert httpx.get(sign_in(url, "mallory"), headers={"Cookie": cookie}).status_code == 401


def test_a_redirection_elsewhere_is_refused(provider_and_gateway):
    _, gateway = provider_and_gateway
    for path in ("//evil.example", "https://evil.example", "/\\evil.example"):
        answer = httpx.get(f"{gateway.url}/auth/oidc/login", params={"return_to": path})
        assert answer.status_code == 400


@pytest.mark.parametrize("client", ["machine", "machine-ed"])
def test_a_machine_comes_in_with_client_credentials(provider_and_gateway, client):
    issuer, gateway = provider_and_gateway
    begin(gateway)  # discovery
    def token(**more):
        answer = httpx.post(f"{issuer}/token", auth=(client, urllib.parse.quote(
            f"{client} secret, long enough for anything")),
            data={"grant_type": "client_credentials", "scope": "api", **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]
    good = token()
    answer = httpx.get(f"{gateway.url}/auth/me", headers={"Authorization": f"Bearer {good}"})
    assert answer.status_code == 200, answer.text
    me = answer.json()
    assert me["auth_method"] == "oidc" and me["roles"] == ["viewer"] and me["tenant"] == "red"
    head, body, signature = good.split(".")
    for bad in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.", f"{head}..{signature}"):
        answer = httpx.get(f"{gateway.url}/auth/me", headers={"Authorization": f"Bearer {bad}"})
        assert answer.status_code == 401
        assert answer.json()["detail"] == "Could not validate credentials"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    assert shutil.which("slapd") or Path("/usr/sbin/slapd").exists(), "slapd is not installed"
    running = Slapd(tmp_path_factory.mktemp("slapd"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ldap_gateway(directory, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("ldap"), free_port(), {"ldap": {
        "urls": [f"ldap://127.0.0.1:{directory.port}"], "start_tls": True,
        "ca_file": str(directory.ca_file), "bind_dn": directory.reader_dn,
        "bind_password": directory.reader_password, "user_base": "ou=people,dc=example,dc=org",
        "group_base": "ou=groups,dc=example,dc=org",
        "roles": {"devs": "developer", "cn=auditors,ou=groups,dc=example,dc=org": "auditor"}},
        "failed_logins": 1000})
    yield gateway
    gateway.stop()


def login(gateway: Gateway, user: str, password: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/auth/login", json={"username": user, "password": password},
                      timeout=30)


def me_of(gateway: Gateway, answer: httpx.Response) -> dict:
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    return httpx.get(f"{gateway.url}/auth/me", headers={"Authorization": f"Bearer {token}"}).json()


def test_people_of_the_directory_sign_in_with_the_roles_of_their_groups(ldap_gateway):
    me = me_of(ldap_gateway, login(ldap_gateway, "ann", "ann's password"))
    assert me["roles"] == ["auditor", "developer"] and me["subject"] == "user:ldap:ann"
    assert me_of(ldap_gateway, login(ldap_gateway, "Bob (B*b)", "bob's password"))["roles"] == [
        "developer"]
    assert login(ldap_gateway, "ann", "wrong").status_code == 401
    assert login(ldap_gateway, "ann", "bob's password").status_code == 401
    assert login(ldap_gateway, "carl", "carl's password").status_code == 401  # in no group


def test_names_do_not_change_the_filter(ldap_gateway):
    for name in ("*", "a*", "ann)(uid=*", "*)(|(uid=*", "ann\\", "ann)(|(objectClass=*)",
                 "(", "\\2a", "uid=ann,ou=people,dc=example,dc=org"):
        answer = login(ldap_gateway, name, "ann's password")
        assert answer.status_code == 401, (name, answer.text)


def test_an_empty_password_is_no_bind(ldap_gateway):
    assert login(ldap_gateway, "ann", "").status_code in (400, 401)


def test_a_directory_that_goes_away_comes_back(ldap_gateway, directory):
    assert login(ldap_gateway, "ann", "ann's password").status_code == 200
    directory.kill()
    away = login(ldap_gateway, "ann", "ann's password")
    assert away.status_code == 503 and "Retry-After" in away.headers
    directory.start()
    wait_until(lambda: login(ldap_gateway, "ann", "ann's password").status_code == 200, 20)


def test_without_starttls_the_directory_refuses_and_a_wrong_ca_too(directory, tmp_path):
    for name, change in (("plain", {"start_tls": False}), ("ca", {"ca_file": ""})):
        folder = tmp_path / name
        folder.mkdir()
        gateway = Gateway(folder, free_port(), {"ldap": {
            "urls": [f"ldap://127.0.0.1:{directory.port}"], "start_tls": True,
            "ca_file": str(directory.ca_file), "user_base": "ou=people,dc=example,dc=org",
            "bind_dn": directory.reader_dn, "bind_password": directory.reader_password, **change}})
        try:
            assert login(gateway, "ann", "ann's password").status_code == 503
        finally:
            gateway.stop()


def test_no_password_is_in_a_log(ldap_gateway):
    time.sleep(0.1)
    text = ldap_gateway.log.read_text()
    for secret in ("ann's password", "bob's password", "reader's password", SECRET):
        assert secret not in text
