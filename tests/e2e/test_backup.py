"""Backup while a mesh writes, loss of everything, restore: the same rows, and the same keys sign in."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from mesh import ROOT

BACKUP, RESTORE = ROOT / "deploy/backup/backup.sh", ROOT / "deploy/backup/restore.sh"


@pytest.fixture
def passphrase(tmp_path) -> dict:
    file = tmp_path / "passphrase"
    file.write_text("correct horse battery staple\n")
    return {**os.environ, "WEFT_BACKUP_PASSPHRASE_FILE": str(file)}


def run(*command, env) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, env=env)


def archive_of(done: subprocess.CompletedProcess) -> Path:
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def row_hashes(database: Path) -> dict[str, str]:
    """A hash of each table's rows, times of last use apart: they are information that may be lost."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    hashes = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [c[1] for c in connection.execute(f"PRAGMA table_info('{table}')") if c[1] != "last_used_at"]
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM '{table}' ORDER BY 1").fetchall()
        hashes[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return hashes


def test_a_lost_mesh_comes_back_from_its_backup(fresh_mesh, tmp_path, passphrase):
    mesh = fresh_mesh(workers=1)
    made, stop = [], threading.Event()

    def write():
        with mesh.client() as client:
            while not stop.is_set():
                answer = client.post("/v1/keys", json={"name": f"key {len(made)}"})
                assert answer.status_code in (200, 201), answer.text
                made.append(answer.json()["secret"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(made) < 5:
            time.sleep(0.01)
        before = list(made)
        started = time.monotonic()
        first = archive_of(run(BACKUP, mesh.home, tmp_path / "backups", env=passphrase))
        took = time.monotonic() - started
    finally:
        stop.set()
        writer.join()
    last = archive_of(run(BACKUP, mesh.home, tmp_path / "backups", env=passphrase))
    hashes = row_hashes(mesh.home / "gateway.db")
    admin = mesh.admin_key
    print(f"backup while keys were made: {took:.2f} s")
    assert b"SQLite" not in first.read_bytes() and first.stat().st_mode & 0o077 == 0

    for pid in mesh.pids().values():
        os.kill(pid, 9)
    mesh.stop()
    for file in mesh.home.glob("gateway.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    (mesh.home / "admin.key").unlink()

    started = time.monotonic()
    done = run(RESTORE, last, mesh.home, env=passphrase)
    assert done.returncode == 0, done.stderr
    assert row_hashes(mesh.home / "gateway.db") == hashes
    mesh.start()
    with mesh.client() as client:
        assert mesh.admin_key == admin
        assert client.get("/v1/models").status_code == 200
    print(f"restore until it serves: {time.monotonic() - started:.2f} s")
    for key in (made[0], made[-1]):
        with mesh.client(headers={"Authorization": f"Bearer {key}"}) as client:
            assert client.get("/v1/models").status_code == 200

    # The first backup was taken while keys were made: it holds at least those that had been answered.
    other = tmp_path / "other"
    assert run(RESTORE, first, other, env=passphrase).returncode == 0
    kept = sqlite3.connect(other / "gateway.db").execute("SELECT count(*) FROM api_keys").fetchone()[0]
    assert kept >= len(before) + 1


@pytest.fixture
def state(tmp_path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    connection = sqlite3.connect(folder / "gateway.db")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (42)")
    connection.commit()
    return folder


def test_a_damaged_archive_or_another_passphrase_changes_nothing(state, tmp_path, passphrase):
    archive = archive_of(run(BACKUP, state, tmp_path / "b", env=passphrase))
    before = (state / "gateway.db").read_bytes()
    damaged = tmp_path / "damaged.enc"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    cut = tmp_path / "cut.enc"
    cut.write_bytes(archive.read_bytes()[:-40])
    for bad in (damaged, cut):
        done = run(RESTORE, bad, state, env=passphrase)
        assert done.returncode == 1 and "damaged" in done.stderr
    Path(passphrase["WEFT_BACKUP_PASSPHRASE_FILE"]).write_text("another\n")
    done = run(RESTORE, archive, state, env=passphrase)
    assert done.returncode == 1 and "passphrase" in done.stderr
    assert (state / "gateway.db").read_bytes() == before
    assert not list(state.glob(".restore-*"))


def test_old_archives_go_and_mistakes_are_named(state, tmp_path, passphrase):
    target = tmp_path / "b"
    old = archive_of(run(BACKUP, state, target, env=passphrase))
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    archive_of(run(BACKUP, state, target, env=passphrase))
    assert len(list(target.glob("weft-*"))) == 1 and not old.exists()
    assert not list(target.glob(".weft-*"))
    for command, env, said in (
            ((BACKUP, tmp_path, target), passphrase, "no gateway.db"),
            ((BACKUP, state, target), {**passphrase, "WEFT_BACKUP_PASSPHRASE_FILE": ""}, "PASSPHRASE"),
            ((BACKUP, state, target), {**passphrase, "WEFT_BACKUP_KEEP_DAYS": "x"}, "KEEP_DAYS"),
            ((RESTORE, tmp_path / "none", state), passphrase, "there is no")):
        done = run(*command, env=env)
        assert done.returncode == 1 and said in done.stderr


def test_what_was_there_is_kept(state, tmp_path, passphrase):
    archive = archive_of(run(BACKUP, state, tmp_path / "b", env=passphrase))
    (state / "gateway.db-wal").write_bytes(b"x")
    before = (state / "gateway.db").read_bytes()
    assert run(RESTORE, archive, state, env=passphrase).returncode == 0
    assert (state / "gateway.db.before-restore").read_bytes() == before
    assert not (state / "gateway.db-wal").exists()
    assert sqlite3.connect(state / "gateway.db").execute("SELECT a FROM t").fetchone() == (42,)


def test_veleros_schedule_is_valid_and_keeps_what_was_promised():
    import jsonschema
    schedule = yaml.safe_load((ROOT / "deploy/backup/velero.yaml").read_text())
    jsonschema.Draft7Validator(json.loads((ROOT / "tests/data/crds/schedule_velero.io_v1.json").read_text())).validate(schedule)
    spec = schedule["spec"]
    assert (spec["schedule"], spec["template"]["ttl"]) == ("0 2 * * *", "720h0m0s")
