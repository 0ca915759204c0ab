"""Signing in with a real OpenID provider (npm oidc-provider): a browser's code with PKCE, machines' client
credentials."""

import json
import re
import subprocess
import urllib.parse

import httpx
import pytest

from identity_gateway import HOME, Gateway, cookies_of
from mesh import ROOT, free_port, wait_until


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
