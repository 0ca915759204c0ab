"""Tenants, the audit and usage by weftctl against real meshes, on SQLite and on PostgreSQL, with kill -9 of the
gateway and of the database."""

import json
import os
import threading

import httpx
import pytest

from mesh import wait_until
from postgres import Postgres


@pytest.fixture
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def company(request, fresh_mesh):
    """A mesh on each database, with an audit key."""
    gateway = {"audit_key": "the audit's key"}
    server = None
    if request.param == "postgresql":
        server = Postgres()
        gateway["database"] = server.url
    mesh = fresh_mesh(workers=1, extra={"gateway": gateway})
    yield mesh
    mesh.stop()
    if server:
        server.stop()


def test_weftctl_administers_tenants_and_reads_the_audit(company, weftctl, tmp_path):
    def ctl(*args, **options):
        return weftctl(*args, "--home", company.home, **options)

    def made(*args):
        return json.loads(ctl(*args).stdout)

    assert made("tenant", "create", "acme", "--set", "plan_type=team")["plan_type"] == "team"
    assert made("project", "create", "web", "--tenant", "acme", "--set", "display_name=The shop")["tenant"] == "acme"
    user = made("user", "create", "ann@acme.example", "--tenant", "acme", "--set", "role=viewer")
    made("role", "create", "reader", "--tenant", "acme", "--set", 'permissions=["projects:read"]')
    quota = made("quota", "create", "--tenant", "acme", "--set", "subject_kind=tenant", "--set", "metric=tokens",
                 "--set", "period=month", "--set", "hard_limit=1000000")
    assert quota["hard_limit"] == 1000000
    assert "acme" in ctl("tenant", "list").stdout
    listed = json.loads(ctl("project", "list", "--tenant", "*", "--json").stdout)
    assert [p["id"] for p in listed] == ["web"]
    assert made("user", "update", user["id"], "--tenant", "acme", "--set", "status=disabled")["status"] == "disabled"
    wrong = ctl("project", "create", "a b", "--tenant", "acme", check=False)
    assert wrong.returncode == 2 and "id:" in wrong.stderr
    again = ctl("tenant", "create", "acme", check=False)
    assert again.returncode == 1 and "already" in again.stderr

    secret = ctl("keys", "create", "--name", "reader", "--tenant", "acme", "--role", "reader").stdout.strip()
    with company.client(headers={"Authorization": f"Bearer {secret}"}) as client:
        assert [p["id"] for p in client.get("/v1/admin/projects").json()["data"]] == ["web"]
        assert client.get("/v1/admin/projects?tenant=default").status_code == 403
        assert client.get("/v1/admin/users").status_code == 403
        made("tenant", "update", "acme", "--set", "status=suspended")
        wait_until(lambda: client.get("/v1/admin/projects").status_code == 401)
    assert ctl("project", "delete", "web", "--tenant", "acme").stdout == "deleted project web\n"

    lines = [json.loads(line) for line in ctl("audit", "export", "--tenant", "acme").stdout.splitlines()]
    actions = [line["action"] for line in lines]
    for action in ("tenants:create", "projects:create", "users:create", "roles:create", "quotas:create",
                   "users:update", "tenants:update", "projects:delete"):
        assert action in actions
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert secret not in json.dumps(lines)
    assert "users:create" in ctl("audit", "list", "--tenant", "acme").stdout
    report = ctl("audit", "verify", "--tenant", "acme").stdout
    assert "whole" in report
    head = report.rsplit(" ", 1)[1].strip()
    assert ctl("audit", "verify", "--tenant", "acme", "--seen", head).returncode == 0

    key, export = tmp_path / "audit.key", tmp_path / "acme.jsonl"
    key.write_text("the audit's key\n")
    export.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert weftctl("audit", "verify", "--file", export, "--audit-key-file", key).returncode == 0
    lines[2]["user_id"] = "somebody else"
    export.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tampered = weftctl("audit", "verify", "--file", export, "--audit-key-file", key, check=False)
    assert tampered.returncode == 1 and "row 3" in tampered.stdout


def test_acts_that_were_answered_survive_kill_9_of_gateway_and_postgresql(fresh_mesh, postgres, weftctl):
    mesh = fresh_mesh(workers=1, extra={"gateway": {"database": postgres.url}})
    answered, stop = [], threading.Event()
    headers = mesh.headers()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            name = f"p{number}"
            try:
                answer = httpx.post(f"{mesh.url}/v1/admin/projects", json={"id": name}, headers=headers, timeout=30)
            except httpx.HTTPError:
                continue
            assert answer.status_code in (201, 409, 429, 503), answer.text
            if answer.status_code == 201:
                answered.append(name)

    def more(count=20):
        target = len(answered) + count
        wait_until(lambda: len(answered) >= target, timeout=90)

    with mesh.client() as client:
        assert client.post("/v1/admin/tenants", json={"id": "default"}).status_code in (201, 409)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2):
            more()
            mesh.kill("gateway")
            more()
            postgres.kill()
            postgres.start()
        more()
    finally:
        stop.set()
        writer.join()
    rows = postgres.sql("weft", "SET weft.scope = 'system'; SELECT resource_id FROM audit_logs WHERE action = "
                                "'projects:create' AND outcome = 'ok'").splitlines()
    assert len(rows) == len(set(rows)), "an act is in the audit twice"
    assert set(answered) <= set(rows)
    kept = set(postgres.sql("weft", "SELECT name FROM projects").splitlines())
    assert set(rows) == kept  # an act and its row are one transaction
    assert "whole" in weftctl("audit", "verify", "--home", mesh.home).stdout


def test_uses_of_models_that_were_answered_are_in_the_audit_once_after_kill_9(fresh_mesh, postgres, weftctl):
    mesh = fresh_mesh(workers=1, extra={"gateway": {"database": postgres.url}})
    answered, stop = [], threading.Event()
    headers = mesh.headers()
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
    body = {"model": model, "prompt": "A", "max_tokens": 1, "temperature": 0}

    def use():
        while not stop.is_set():
            try:
                answer = httpx.post(f"{mesh.url}/v1/completions", json=body, headers=headers, timeout=60)
            except httpx.HTTPError:
                continue
            assert answer.status_code in (200, 429, 503), answer.text
            if answer.status_code == 200:
                answered.append(answer.headers["x-request-id"])

    def more(count=15):
        target = len(answered) + count
        wait_until(lambda: len(answered) >= target, timeout=120)

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    try:
        for _ in range(2):
            more()
            mesh.kill("gateway")
            more()
            postgres.kill()
            mesh.kill("gateway")  # what it has not stored is on the disk alone
            postgres.start()
        more()
    finally:
        stop.set()
        for user in users:
            user.join()

    def rows():
        return postgres.sql("weft", "SET weft.scope = 'system'; SELECT request_id FROM audit_logs WHERE action = "
                                    "'models:use' AND outcome = 'ok'").splitlines()

    wait_until(lambda: set(answered) <= set(rows()), timeout=60)
    found = rows()
    assert len(found) == len(set(found)), "a use is in the audit twice"
    assert "whole" in weftctl("audit", "verify", "--home", mesh.home).stdout


def test_refused_requests_are_in_the_audit_and_a_flood_is_few_rows(company, weftctl):
    with httpx.Client(base_url=company.url) as client:
        for _ in range(50):
            answer = client.get("/v1/models", headers={"Authorization": "Bearer weft_nobody_knows"})
            assert answer.status_code in (401, 429)

    def refused():
        listed = weftctl("audit", "list", "--home", company.home, "--tenant", "*", "--action", "access:refuse",
                         "--json").stdout
        return [json.loads(line) for line in listed.splitlines()]

    found = wait_until(lambda: refused(), timeout=30)
    assert len(found) <= 3
    assert found[0]["ip_address"].startswith("127.0.0.1")
    assert json.loads(found[0]["details"])["reason"] == "bad_key"
    assert found[0]["resource_id"] == "GET /v1/models"
    assert "nobody_knows" not in json.dumps(found)
