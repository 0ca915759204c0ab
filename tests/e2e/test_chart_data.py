"""The chart's data stores: what is rendered, and that real servers run with it."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from chart import OVERLAYS, all_workloads, config, container, find, of_kind, pod_spec, refusal, render, render_text
from mesh import free_port

TRIAL = OVERLAYS["trial stores without volumes, pooled"]
PROGRAMS = {"redis-server": "redis-server", "redis-cli": "redis-tools", "pgbouncer": "pgbouncer", "psql": "postgresql-client"}


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:  # Debian keeps PostgreSQL's own out of PATH
        found = next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    found = found or shutil.which(name, path="/usr/sbin:/sbin")
    assert found, f"no {name}: ./weft test installs {PROGRAMS.get(name, 'postgresql')}"
    return found


def env_of(docs: list[dict]) -> dict[str, dict]:
    return {e["name"]: e for e in container(find(docs, "Deployment", "weft-gateway")).get("env", [])}


# --- what is rendered ---

def test_without_any_store_each_gateway_has_its_own_file():
    docs = render("prod")
    assert config(docs, "weft-gateway")["gateway"]["database"] == "/var/lib/weft/gateway.db"
    assert not {"WEFT_GATEWAY_DATABASE", "WEFT_GATEWAY_REDIS_URL"} & set(env_of(docs))


def test_urls_come_from_secrets_and_stand_in_no_configuration():
    for overlay, database, redis in (("trial stores", ("weft-database", "url"), ("weft-redis", "url")),
                                     ("stores of others", ("db", "url"), ("r", "u"))):
        docs = render("prod", extra=OVERLAYS[overlay])
        env = env_of(docs)
        for variable, (secret, key) in (("WEFT_GATEWAY_DATABASE", database), ("WEFT_GATEWAY_REDIS_URL", redis)):
            assert env[variable]["valueFrom"]["secretKeyRef"] == {"name": secret, "key": key}
        assert "database" not in config(docs, "weft-gateway")["gateway"]
        mounts = {m["mountPath"]: m["name"] for m in container(find(docs, "Deployment", "weft-gateway"))["volumeMounts"]}
        volumes = {v["name"]: v for v in pod_spec(find(docs, "Deployment", "weft-gateway"))["volumes"]}
        if overlay == "stores of others":
            assert env["WEFT_GATEWAY_REDIS_CA_FILE"]["value"] == "/etc/weft-redis/ca.crt" and "/etc/weft-redis" in mounts
        # Of a Secret with more in it the gateways get the authority's certificate alone.
        assert volumes[mounts["/etc/weft-database"]]["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


def test_passwords_are_new_in_every_release_and_nowhere_but_in_secrets():
    # A value that was never asked for before makes helm render again.
    first, second = (of_kind(render("dev", extra=TRIAL, release=name), "Secret") for name in ("one", "two"))
    passwords = {s["stringData"]["password"] for s in first + second if "password" in s["stringData"]}
    assert len(passwords) == 4 and all(re.fullmatch(r"[A-Za-z0-9]{40}", p) for p in passwords)
    others = [d for d in render("dev", extra=TRIAL, release="one") if d["kind"] != "Secret"]
    assert not any(p in yaml.dump(others) for p in passwords)
    assert all(s["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for s in first)


def test_pgbouncer_has_the_required_numbers():
    for overlay in ("trial stores without volumes, pooled", "PgBouncer before others"):
        docs = render("prod", extra=OVERLAYS[overlay])
        assert find(docs, "Deployment", "weft-pgbouncer")["spec"]["replicas"] == 2
        assert find(docs, "PodDisruptionBudget", "weft-pgbouncer")["spec"]["minAvailable"] == 1
        told = ini(find(docs, "ConfigMap", "weft-pgbouncer")["data"]["pgbouncer.ini"])
        assert told["pool_mode"] == "transaction"
        numbers = {k: told[k] for k in ("max_client_conn", "default_pool_size", "reserve_pool_size", "max_db_connections")}
        assert numbers == {"max_client_conn": "1000", "default_pool_size": "25", "reserve_pool_size": "5",
                           "max_db_connections": "100"}
        assert int(told["max_prepared_statements"]) > 0
    pooler = find(render("prod", extra=OVERLAYS["CloudNativePG"]), "Pooler")["spec"]
    assert (pooler["instances"], pooler["pgbouncer"]["poolMode"]) == (2, "transaction")
    assert {k: v for k, v in pooler["pgbouncer"]["parameters"].items() if k in numbers} == numbers


def ini(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = ?(.*)$", text, re.M))


def test_a_cloudnativepg_cluster_has_the_required_numbers_and_restores_to_a_moment():
    docs = render("prod", extra=OVERLAYS["CloudNativePG"])
    cluster = find(docs, "Cluster")["spec"]
    assert (cluster["instances"], cluster["storage"]["size"]) == (3, "100Gi")
    assert find(docs, "ObjectStore")["spec"]["retentionPolicy"] == "30d"
    assert cluster["plugins"][0]["isWALArchiver"] is True
    assert find(docs, "ScheduledBackup")["spec"]["schedule"] == "0 0 2 * * *"
    url = env_of(docs)["WEFT_GATEWAY_DATABASE"]["value"]
    assert "@weft-postgres-pooler.mesh.svc.cluster.local:5432/weft?sslmode=verify-ca" in url
    names = list(env_of(docs))  # a variable is known to those after it
    assert names.index("DATABASE_USER") < names.index("WEFT_GATEWAY_DATABASE") > names.index("DATABASE_PASSWORD")
    back = find(render("prod", extra=OVERLAYS["CloudNativePG recovered"]), "Cluster")["spec"]
    assert back["bootstrap"]["recovery"]["recoveryTarget"] == {"targetTime": "2030-01-31T12:00:00Z"}
    origin, own = back["externalClusters"][0]["plugin"]["parameters"], back["plugins"][0]["parameters"]
    assert origin["serverName"] == "weft-postgres" != own["serverName"]


def test_secrets_of_stores_come_from_the_same_store_as_the_keys():
    docs = render("prod", extra=OVERLAYS["stores of others"])
    wanted = {s["metadata"]["name"]: s["spec"] for s in of_kind(docs, "ExternalSecret")}
    assert set(wanted) == {"k", "db"}
    assert wanted["db"]["dataFrom"] == [{"extract": {"key": "weft/db"}}]
    assert wanted["db"]["secretStoreRef"] == wanted["k"]["secretStoreRef"]


@pytest.mark.parametrize("extra, said", [
    ("{postgresql: {enabled: true}, cloudnativepg: {enabled: true}}", "choose one of database.existingSecret"),
    ("{postgresql: {enabled: true}, database: {existingSecret: a}}", "not existing and postgresql"),
    ("{redis: {enabled: true, existingSecret: a}}", "redis.existingSecret"),
    ("pgbouncer: {enabled: true}", "pgbouncer.enabled: there is no PostgreSQL behind it"),
    ("{database: {existingSecret: a}, pgbouncer: {enabled: true}}", "pgbouncer.existingSecret"),
    ("{database: {existingSecret: a}, pgbouncer: {enabled: true, existingSecret: b}}", "pgbouncer.upstream.host"),
    ("cloudnativepg: {enabled: true}", "cloudnativepg.backup.destinationPath"),
    ("cloudnativepg: {enabled: true, backup: {enabled: false}, recovery: {enabled: true}}", "cloudnativepg.backup.enabled"),
    ("cloudnativepg: {enabled: true, backup: {destinationPath: a}, recovery: {enabled: true}}", "cloudnativepg.recovery.serverName"),
    ("cloudnativepg: {enabled: true, backup: {destinationPath: a}, recovery: {enabled: true, serverName: weft-postgres}}",
     "must write under another name"),
    ("postgresql: {enabled: true, database: 'a; DROP'}", "/postgresql/database"),
    ("redis: {enabled: true, maxMemory: lots}", "/redis/maxMemory"),
    ("externalSecrets: [{name: a}]", "externalSecrets[0].remoteKey"),
    ("externalSecrets: [{name: a, remoteKey: b}]", "keys.externalSecret.store.name"),
])
def test_wrong_values_are_refused_with_their_path(extra, said):
    assert said in refusal("dev", extra=extra)


# --- real servers with what is rendered ---

def not_root() -> dict:
    """PostgreSQL and PgBouncer refuse to run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


class Server:
    def __init__(self, args, log: Path, **kwargs):
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(args, stdout=out, stderr=subprocess.STDOUT, **kwargs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def until(self, ready):
        deadline = time.monotonic() + 60
        while not ready():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def write(path: Path, text: str, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")


def folder(path: Path) -> Path:
    path.mkdir()
    if os.geteuid() == 0:
        shutil.chown(path, "nobody", "nogroup")
    return path


def test_a_real_redis_takes_the_configuration_and_lets_nobody_in_without_the_password(tmp_path):
    docs = render("dev", extra=OVERLAYS["trial stores"])
    secret = find(docs, "Secret", "weft-redis")["stringData"]
    port = free_port()
    write(tmp_path / "auth.conf", secret["auth.conf"])
    text = find(docs, "ConfigMap", "weft-redis")["data"]["redis.conf"]
    text = text.replace("/etc/redis-auth", str(tmp_path)).replace("dir /data", f"dir {tmp_path}")
    write(tmp_path / "redis.conf", text.replace("bind * -::*", "bind 127.0.0.1").replace("port 6379", f"port {port}"))

    def cli(*args, password=""):
        env = {"PATH": os.environ["PATH"], **({"REDISCLI_AUTH": password} if password else {})}
        done = subprocess.run([program("redis-cli"), "-p", str(port), *args], capture_output=True, text=True, env=env, timeout=20)
        return (done.stdout + done.stderr).strip()

    with Server([program("redis-server"), tmp_path / "redis.conf"], tmp_path / "log") as server:
        server.until(lambda: cli("PING", password=secret["password"]) == "PONG")
        assert "NOAUTH" in cli("GET", "a")
        assert cli("SET", "a", "b", password=secret["password"]) == "OK"
        assert "unknown command" in cli("CONFIG", "GET", "maxmemory", password=secret["password"])
        info = cli("INFO", password=secret["password"])
        assert "maxmemory_policy:volatile-ttl" in info and "aof_enabled:1" in info
        assert f"maxmemory:{256 << 20}" in info
    assert re.fullmatch(rf"redis://:{secret['password']}@weft-redis\.mesh\.svc\.cluster\.local:6379/0", secret["url"])


def start_postgres(docs: list[dict], base: Path, port: int) -> Server:
    """As the image's entry point does it: initdb, the scripts over the socket alone, then the server."""
    data, secrets = folder(base / "data"), folder(base / "secret")
    for key, text in find(docs, "Secret", "weft-postgresql")["stringData"].items():
        write(secrets / key, text)
    one = container(find(docs, "StatefulSet", "weft-postgresql"))
    env = {e["name"]: e["value"] for e in one["env"]}
    assert env["POSTGRES_PASSWORD_FILE"] == "/etc/weft-postgresql/superuser-password"
    subprocess.run([program("initdb"), "-D", data, "-U", "postgres", f"--pwfile={secrets}/superuser-password",
                    *env["POSTGRES_INITDB_ARGS"].split()], check=True, capture_output=True, timeout=120, **not_root())
    settings = [arg.replace("/etc/weft-postgresql", str(secrets)) for arg in one["args"]]
    assert settings[0] == "postgres"
    server = Server([program("postgres"), "-D", data, "-k", base, "-p", str(port), "-h", "127.0.0.1", *settings[1:]],
                    base / "postgres.log", **not_root())
    server.until(lambda: subprocess.run([program("pg_isready"), "-q", "-h", base, "-p", str(port)]).returncode == 0)
    script = find(docs, "ConfigMap", "weft-postgresql")["data"]["weft.sh"].replace("/etc/weft-postgresql", str(secrets))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "PGHOST": str(base), "PGPORT": str(port)})
    assert done.returncode == 0, done.stderr
    return server


def sql(url: str, port: int, query: str, authority: Path) -> subprocess.CompletedProcess:
    """`url` is a Secret's: its host name is verified, but dialled here."""
    url = re.sub(r":5432/", f":{port}/", url).replace("/etc/weft-database/ca.crt", str(authority))
    return subprocess.run([program("psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", query, f"{url}&hostaddr=127.0.0.1"],
                          capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def cluster():
    """The trial PostgreSQL with PgBouncer before it: (documents, folder, port of each)."""
    # pytest's own folders are open to its user alone.
    with tempfile.TemporaryDirectory(prefix="weft-pg-") as name:
        base = Path(name)
        base.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(base, "nobody", "nogroup")
        yield from run_cluster(base)


def run_cluster(base: Path):
    docs = render("dev", extra=TRIAL)
    port, pool_port = free_port(), free_port()
    write(base / "ca.crt", find(docs, "Secret", "weft-database")["stringData"]["ca.crt"], 0o644)
    for key, text in find(docs, "Secret", "weft-pgbouncer")["stringData"].items():
        write(base / key, text)
    text = find(docs, "ConfigMap", "weft-pgbouncer")["data"]["pgbouncer.ini"]
    assert "host=weft-postgresql.mesh.svc.cluster.local port=5432" in text
    text = text.replace("host=weft-postgresql.mesh.svc.cluster.local port=5432", f"host=127.0.0.1 port={port}")
    # The name that would be verified is the Service's, which nothing here resolves.
    text = text.replace("server_tls_sslmode = verify-full", "server_tls_sslmode = verify-ca")
    text = text.replace("/etc/weft-pgbouncer", str(base)).replace("listen_addr = *", "listen_addr = 127.0.0.1")
    text = text.replace("listen_port = 5432", f"listen_port = {pool_port}")
    version = re.search(r"1\.(\d+)", subprocess.run([program("pgbouncer"), "-V"], capture_output=True, text=True).stdout)
    if int(version[1]) < 21:
        text = re.sub(r"^max_prepared_statements.*\n", "", text, flags=re.M)
    write(base / "pgbouncer.ini", text + "\nstats_users = weft\n")
    with start_postgres(docs, base, port):
        with Server([program("pgbouncer"), base / "pgbouncer.ini"], base / "pgbouncer.log", **not_root()) as pool:
            secret = find(docs, "Secret", "weft-database")["stringData"]
            pool.until(lambda: sql(secret["url"], pool_port, "SELECT 1", base / "ca.crt").returncode == 0)
            yield docs, base, port, pool_port


def test_a_real_postgresql_knows_a_role_that_row_level_security_binds(cluster):
    docs, base, port, pool_port = cluster
    url = find(docs, "Secret", "weft-database")["stringData"]["url"]
    assert "@weft-pgbouncer.mesh.svc.cluster.local:5432/weft?sslmode=verify-full" in url
    query = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert sql(url, pool_port, query, base / "ca.crt").stdout.strip() == "f|f|f|f"
    for query, answer in (("SHOW data_checksums", "on"), ("SHOW max_connections", "150"),
                          ("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "TLSv1.3"),
                          ("CREATE TABLE t (i int); INSERT INTO t VALUES (7); SELECT i FROM t", "7")):
        done = sql(url, pool_port, query, base / "ca.crt")
        assert done.stdout.strip().splitlines()[-1:] == [answer], (query, done.stderr)


def test_a_real_pgbouncer_has_the_numbers_and_takes_only_tls_and_the_password(cluster):
    docs, base, port, pool_port = cluster
    url = find(docs, "Secret", "weft-database")["stringData"]["url"]
    told = dict(line.split("|")[:2] for line in sql(url.replace("/weft?", "/pgbouncer?"), pool_port, "SHOW CONFIG",
                                                    base / "ca.crt").stdout.splitlines())
    assert [told[k] for k in ("max_client_conn", "default_pool_size", "reserve_pool_size", "max_db_connections", "pool_mode")] == [
        "1000", "25", "5", "100", "transaction"]
    plain = re.sub(r"\?.*", "?sslmode=disable", url)
    assert "TLS required" in sql(plain, pool_port, "SELECT 1", base / "ca.crt").stderr.replace("SSL", "TLS")
    wrong = re.sub(r"//weft:[^@]*@", "//weft:guess@", url)
    assert sql(wrong, pool_port, "SELECT 1", base / "ca.crt").returncode != 0
    # Without PgBouncer: the same certificate carries the server's name too, and other databases are closed.
    direct = url.replace("weft-pgbouncer", "weft-postgresql")
    assert sql(direct, port, "SELECT 1", base / "ca.crt").stdout.strip() == "1"
    assert "permission denied for database" in sql(direct.replace("/weft?", "/postgres?"), port, "SELECT 1", base / "ca.crt").stderr
