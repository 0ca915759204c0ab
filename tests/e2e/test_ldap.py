"""Signing in with a real directory (slapd)."""

import shutil
import time
from pathlib import Path

import httpx
import pytest

from identity_gateway import SECRET, Gateway, login
from mesh import free_port, wait_until
from slapd import Slapd


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
