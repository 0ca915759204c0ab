"""weftctl pull: from HTTP servers that misbehave, an S3 store that verifies signatures, and a real registry."""

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from file_server import FileServer
from mesh import BIN, free_port
from test_chart_data import Server, program

MODEL = random.Random(7).randbytes(3_000_000)
SUM = hashlib.sha256(MODEL).hexdigest()
PATH = "/models/m.gguf"


def pull(source, folder, *args, env=None, timeout=60) -> subprocess.CompletedProcess:
    return subprocess.run([BIN / "weftctl", "pull", source, str(folder), *map(str, args)], capture_output=True, text=True,
                          timeout=timeout, env={"HOME": "/nonexistent", **(env or {})})


def left(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.fixture
def server():
    with FileServer(files={PATH: MODEL}) as one:
        yield one


# --- HTTP ---

def test_a_file_comes_checked_and_the_second_pull_asks_nobody(server, tmp_path):
    done = pull(server.url(PATH), tmp_path / "deep/er", "--sha256", SUM)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deep/er/m.gguf").read_bytes() == MODEL
    assert left(tmp_path / "deep/er") == {"m.gguf", "m.gguf.pulled"} and SUM in done.stdout
    asked = len(server.rules.requests)
    again = pull(server.url(PATH), tmp_path / "deep/er", "--sha256", SUM)
    assert again.returncode == 0 and "was there already" in again.stdout and len(server.rules.requests) == asked
    # A file that was changed since is not the one that was checked.
    (tmp_path / "deep/er/m.gguf").write_bytes(b"x" + MODEL[1:])
    assert pull(server.url(PATH), tmp_path / "deep/er", "--sha256", SUM).returncode == 0
    assert (tmp_path / "deep/er/m.gguf").read_bytes() == MODEL and len(server.rules.requests) > asked


def test_a_connection_that_is_cut_goes_on_where_it_was(server, tmp_path):
    server.rules.cut_after = [1_000_000, 500_000]
    done = pull(server.url(PATH), tmp_path, "--sha256", SUM)
    assert done.returncode == 0, done.stderr
    ranges = [h.get("range") for _, h in server.rules.requests]
    assert ranges[0] is None and len(ranges) == 3
    offsets = [int(r.removeprefix("bytes=").rstrip("-")) for r in ranges[1:]]
    assert 0 < offsets[0] <= 1_000_000 and offsets[0] < offsets[1] <= offsets[0] + 500_000
    assert all(h["if-range"].startswith('"') for _, h in server.rules.requests[1:])
    assert "going on at byte" in done.stderr and (tmp_path / "m.gguf").read_bytes() == MODEL


def test_the_next_pull_goes_on_where_the_last_one_gave_up(server, tmp_path):
    server.rules.cut_after = [2_000_000]
    server.rules.answers = [200] + [503] * 2
    first = pull(server.url(PATH), tmp_path, "--sha256", SUM, "--tries", 1)
    assert first.returncode == 1 and "m.gguf.part" in left(tmp_path)
    server.rules.answers = []
    second = pull(server.url(PATH), tmp_path, "--sha256", SUM)
    assert second.returncode == 0, second.stderr
    assert int(server.rules.requests[-1][1]["range"].removeprefix("bytes=").rstrip("-")) > 0
    assert (tmp_path / "m.gguf").read_bytes() == MODEL and left(tmp_path) == {"m.gguf", "m.gguf.pulled"}


@pytest.mark.parametrize("how", ["no ranges", "another file", "no etag and no checksum"])
def test_what_cannot_be_resumed_begins_again(server, tmp_path, how):
    server.rules.cut_after = [2_000_000]
    checksum = ["--sha256", SUM]
    if how == "no etag and no checksum":
        server.rules.etags = False
        other = hashlib.sha256(b"?").hexdigest()
        assert pull(server.url(PATH), tmp_path, "--sha256", other, "--tries", 1).returncode == 1
    else:
        assert pull(server.url(PATH), tmp_path, *checksum, "--tries", 1).returncode == 1
    new = MODEL
    if how == "no ranges":
        server.rules.ranges = False
    if how == "another file":
        new = bytes(reversed(MODEL))
        server.rules.files[PATH] = new
        checksum = ["--sha256", hashlib.sha256(new).hexdigest()]
    done = pull(server.url(PATH), tmp_path, *checksum)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.gguf").read_bytes() == new


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    wrong = "0" * 64
    done = pull(server.url(PATH), tmp_path, "--sha256", wrong)
    assert done.returncode == 1 and f"its SHA-256 is {SUM}, expected {wrong}" in done.stderr
    assert left(tmp_path) == set()


def test_what_cannot_be_reached_is_said_with_the_reason(server, tmp_path):
    port = free_port()
    for source, said in ((f"http://127.0.0.1:{port}/m.gguf", "Failed to connect"),
                         ("https://nowhere.invalid/m.gguf", "Could not resolve host"),
                         (server.url("/other.gguf"), "the server answers 404: no such file"),
                         (server.url(PATH).replace("http:", "https:"), "SSL")):
        done = pull(source, tmp_path, "--sha256", SUM, "--tries", 1)
        assert done.returncode == 1 and said.lower() in done.stderr.lower(), done.stderr
        assert "m.gguf" not in left(tmp_path)


def test_a_server_that_asks_for_patience_gets_it(server, tmp_path):
    server.rules.answers = [503, 429]
    done = pull(server.url(PATH), tmp_path, "--sha256", SUM)
    assert done.returncode == 0 and done.stderr.count("going on at byte 0") == 2


@pytest.mark.parametrize("source, args, said", [
    ("ftp://a/b.gguf", [], "expected https://, http://, s3:// or oci://"),
    ("https://a/", [], "expected SCHEME://HOST"),
    ("https://a/..", [], "is no name for a file"),
    ("https://a/%2e%2e%2fpasswd", [], "is no name for a file"),
    ("s3://B/x", [], "expected s3://BUCKET/KEY"),
    ("s3://bucket/", [], "expected s3://BUCKET/KEY"),
    ("oci://host/UPPER", [], "expected oci://"),
    ("http://127.0.0.1:1/m.gguf", [], "give --sha256"),
    ("https://a/m.gguf", ["--sha256", "12"], "not 64 hexadecimal digits"),
    ("https://a/m-00002-of-00003.gguf", [], "name the first part"),
    ("https://a/m-00001-of-00003.gguf", ["--sha256", SUM], "1 given, but there are 3 files"),
])
def test_a_wrong_call_is_refused_before_anything_is_asked(source, args, said, tmp_path):
    done = pull(source, tmp_path, *args)
    assert done.returncode == 2 and said in done.stderr, done.stderr


def test_split_files_come_with_all_their_parts(tmp_path):
    parts = {f"/q/m-{i:05}-of-00003.gguf": MODEL[i * 1000:(i + 1) * 1000] for i in (1, 2, 3)}
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(data).hexdigest()}  {Path(name).name}\n" for name, data in parts.items()))
    with FileServer(files=parts) as server:
        done = pull(server.url("/q/m-00001-of-00003.gguf?v=1"), tmp_path / "out", "--sha256sums", sums)
        assert done.returncode == 0, done.stderr
        assert {n: (tmp_path / "out" / Path(n).name).read_bytes() for n in parts} == parts
        assert {p for p, _ in server.rules.requests} == {n + "?v=1" for n in parts}


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of a chosen size takes root")
def test_a_full_disk_is_said_before_the_first_byte(server, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("mounts are not allowed here: " + mounted.stderr)
    try:
        done = pull(server.url(PATH), small, "--sha256", SUM)
        assert done.returncode == 1 and f"{len(MODEL)} bytes are to come, the file system has room for" in done.stderr
        assert "m.gguf" not in left(small)
    finally:
        subprocess.run(["umount", small], check=True)


def test_sigterm_ends_it_and_keeps_what_came(server, tmp_path):
    held = threading.Event()
    server.rules.files["/slow.gguf"] = MODEL

    def hold(handler):
        if handler.path == "/slow.gguf" and not handler.headers.get("Range"):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(MODEL)))
            handler.send_header("ETag", '"' + hashlib.md5(MODEL).hexdigest() + '"')
            handler.end_headers()
            handler.wfile.write(MODEL[:1_000_000])
            handler.wfile.flush()
            held.wait(60)
            handler.close_connection = True
            return 200, ""
        return None

    server.rules.guard = hold
    process = subprocess.Popen([BIN / "weftctl", "pull", server.url("/slow.gguf"), tmp_path, "--sha256", SUM],
                               stderr=subprocess.PIPE, text=True)
    part = tmp_path / "slow.gguf.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Another one waits for the first instead of writing into its file.
    other = subprocess.Popen([BIN / "weftctl", "pull", server.url("/slow.gguf"), tmp_path, "--sha256", SUM],
                             stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "another process downloads it; waiting" in other.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130 and "the next pull goes on there" in told
    held.set()
    _, told = other.communicate(timeout=30)
    assert other.returncode == 0, told
    assert int(server.rules.requests[-1][1]["range"].removeprefix("bytes=").rstrip("-")) > 0
    assert (tmp_path / "slow.gguf").read_bytes() == MODEL


# --- S3 ---

def verified(secret: str, token: str):
    """Refuses what botocore, AWS' own Python library, would have signed in another way."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    class At(S3SigV4Auth):
        def _modify_request_before_signing(self, request):
            pass  # what the client sent stays

    def check(handler):
        sent = dict(handler.headers.items())
        theirs = sent.get("Authorization", "")
        signed = theirs.split("SignedHeaders=")[-1].split(",")[0].split(";")
        headers = {k: v for k, v in sent.items() if k.lower() in signed and k.lower() != "host"}
        request = AWSRequest("GET", f"http://{handler.headers['Host']}{handler.path}", headers=headers)
        request.context.update(timestamp=sent.get("x-amz-date", ""), payload_signing_enabled=True)
        auth = At(Credentials("AKID", secret, token or None), "s3", "eu-central-1")
        text = auth.string_to_sign(request, auth.canonical_request(request))
        ours = auth.signature(text, request)
        if "host" in signed and "x-amz-date" in signed and theirs.endswith("Signature=" + ours):
            return None
        return 403, "<Error><Code>SignatureDoesNotMatch</Code></Error>"
    return check


@pytest.mark.parametrize("token", ["", "a+temporary/token=="])
def test_s3_requests_are_signed_as_botocore_signs_them(tmp_path, token):
    key = "/weights/models/a b+c~é/m.gguf"
    from urllib.parse import quote
    with FileServer(files={quote(key, safe="/~"): MODEL}, guard=verified("secret/key", token), cut_after=[1_000_000]) as server:
        env = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret/key", "AWS_SESSION_TOKEN": token,
               "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_S3": server.url("")}
        source = "s3://weights/models/a b+c~é/m.gguf"
        assert pull(source, tmp_path, env=env).returncode == 2  # a space is a slip of the hand more often than a name
        server.rules.files = {quote(key.replace(" ", "_"), safe="/~"): MODEL}
        done = pull(source.replace(" ", "_"), tmp_path, "--sha256", SUM, env=env)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "m.gguf").read_bytes() == MODEL
        assert len(server.rules.requests) == 2 and "range" in server.rules.requests[1][1]
        wrong = pull(source.replace(" ", "_"), tmp_path / "x", env={**env, "AWS_SECRET_ACCESS_KEY": "other"})
        assert wrong.returncode == 1 and "403" in wrong.stderr and "SignatureDoesNotMatch" in wrong.stderr
        assert "other" not in wrong.stderr


def test_without_credentials_s3_is_asked_anonymously(tmp_path):
    with FileServer(files={"/weights/m.gguf": MODEL}) as server:
        done = pull("s3://weights/m.gguf", tmp_path, "--sha256", SUM, env={"AWS_ENDPOINT_URL": server.url("")})
        assert done.returncode == 0, done.stderr
        assert "authorization" not in server.rules.requests[0][1]


# --- a real registry ---

def push(base: str, name: str, tag: str, files: dict[str, bytes], headers=None, annotate=True) -> str:
    """As the OCI specification says; returns the manifest's digest."""
    def blob(data: bytes) -> dict:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        begun = client.post(f"{base}/v2/{name}/blobs/uploads/")
        assert begun.status_code == 202, begun.text
        put = client.put(httpx.URL(begun.headers["location"]).copy_add_param("digest", digest), content=data)
        assert put.status_code == 201, put.text
        return {"digest": digest, "size": len(data)}

    with httpx.Client(headers=headers or {}, timeout=30) as client:
        layers = [{"mediaType": "application/octet-stream", **blob(data),
                   **({"annotations": {"org.opencontainers.image.title": title}} if annotate else {})} for title, data in files.items()]
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"mediaType": "application/vnd.oci.empty.v1+json", **blob(b"{}")}, "layers": layers}
        text = json.dumps(manifest)
        put = client.put(f"{base}/v2/{name}/manifests/{tag}", content=text, headers={"Content-Type": manifest["mediaType"]})
        assert put.status_code == 201, put.text
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def registry(tmp_path: Path, auth: str = "") -> tuple[Server, int]:
    port = free_port()
    (tmp_path / "blobs").mkdir()
    config = f"""version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {tmp_path}/blobs}}}}
http: {{addr: 127.0.0.1:{port}}}
{auth}"""
    (tmp_path / "registry.yaml").write_text(config)
    server = Server([program("docker-registry"), "serve", tmp_path / "registry.yaml"], tmp_path / "registry.log")

    def up():
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/").status_code in (200, 401)
        except httpx.TransportError:
            return False
    server.until(up)
    return server, port


def test_an_artifact_comes_from_a_real_registry(tmp_path):
    server, port = registry(tmp_path)
    with server:
        files = {"m.gguf": MODEL, "tokenizer/tokenizer.json": b"{}" * 1000}
        digest = push(f"http://127.0.0.1:{port}", "models/smol", "v1", files)
        for reference in (":v1", "@" + digest):
            out = tmp_path / reference[1:5]
            done = pull(f"oci://127.0.0.1:{port}/models/smol{reference}", out, "--plain-http")
            assert done.returncode == 0, done.stderr
            assert {name: (out / name).read_bytes() for name in files} == files
        missing = pull(f"oci://127.0.0.1:{port}/models/smol:v2", tmp_path / "x", "--plain-http")
        assert missing.returncode == 1 and "404" in missing.stderr and "MANIFEST_UNKNOWN" in missing.stderr
        push(f"http://127.0.0.1:{port}", "image", "v1", {"layer": b"tar"}, annotate=False)
        image = pull(f"oci://127.0.0.1:{port}/image:v1", tmp_path / "x", "--plain-http")
        assert image.returncode == 2 and "this is an image, not files" in image.stderr
        # A blob that the registry's disk has damaged.
        blob = next((tmp_path / "blobs").rglob(f"{SUM}/data"))
        blob.write_bytes(bytes(len(MODEL)))
        damaged = pull(f"oci://127.0.0.1:{port}/models/smol:v1", tmp_path / "y", "--plain-http")
        assert damaged.returncode == 1 and f"expected {SUM}" in damaged.stderr and "m.gguf" not in left(tmp_path / "y")


def token_service(key: Path, certificate: Path, users: dict[str, str], asked: list):
    """What a registry's token service does: a JWT for whoever shows a password, by the distribution's specification."""
    def openssl(*args, data=b"") -> bytes:
        return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout

    chain = base64.b64encode(openssl("x509", "-in", certificate, "-outform", "DER")).decode()

    def sign(data: bytes) -> bytes:
        """r and s, 32 bytes each, out of the DER that openssl writes: 30 n 02 n R 02 n S."""
        der = openssl("dgst", "-sha256", "-sign", key, data=data)
        r = der[4:4 + der[3]]
        return b"".join(int.from_bytes(n, "big").to_bytes(32, "big") for n in (r, der[6 + der[3]:]))

    def b64(data) -> str:
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(scope: str) -> str:
        kind, name, actions = scope.split(":")
        now = int(time.time())
        head = b64({"alg": "ES256", "typ": "JWT", "x5c": [chain]})
        claims = b64({"iss": "tests", "aud": "registry", "sub": "u", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(now),
                      "access": [{"type": kind, "name": name, "actions": actions.split(",")}]})
        return f"{head}.{claims}.{b64(sign(f'{head}.{claims}'.encode()))}"

    def answer(handler):
        from urllib.parse import parse_qs, urlparse
        query = parse_qs(urlparse(handler.path).query)
        sent = handler.headers.get("Authorization", "")
        asked.append(query)
        if sent not in ["Basic " + base64.b64encode(f"{u}:{p}".encode()).decode() for u, p in users.items()]:
            return 401, "who are you?"
        return 200, json.dumps({"token": token(query["scope"][0])})
    return answer, token


def test_a_registry_with_a_token_service_is_signed_in_to(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", certificate, "-subj", "/CN=tests", "-days", "2"], check=True, capture_output=True)
    asked: list = []
    answer, token = token_service(key, certificate, {"reader": "p:w"}, asked)
    with FileServer(guard=answer) as service:
        server, port = registry(tmp_path, f"auth: {{token: {{realm: '{service.url('/token')}', service: registry, issuer: tests, "
                                          f"rootcertbundle: {certificate}}}}}")
        with server:
            base = f"http://127.0.0.1:{port}"
            push(base, "models/private", "v1", {"m.gguf": MODEL},
                 headers={"Authorization": "Bearer " + token("repository:models/private:pull,push")})
            source = f"oci://127.0.0.1:{port}/models/private:v1"
            config = tmp_path / "docker"
            config.mkdir()
            auth = base64.b64encode(b"reader:p:w").decode()
            (config / "config.json").write_text(json.dumps({"auths": {f"http://127.0.0.1:{port}/v2/": {"auth": auth}}}))
            done = pull(source, tmp_path / "out", "--plain-http", env={"DOCKER_CONFIG": str(config)})
            assert done.returncode == 0, done.stderr
            assert (tmp_path / "out/m.gguf").read_bytes() == MODEL
            assert asked[-1] == {"service": ["registry"], "scope": ["repository:models/private:pull"]}
            (config / "config.json").write_text(json.dumps({"auths": {f"127.0.0.1:{port}": {"username": "reader", "password": "no"}}}))
            refused = pull(source, tmp_path / "x", "--plain-http", env={"DOCKER_CONFIG": str(config)})
            assert refused.returncode == 1 and "token service" in refused.stderr and "401" in refused.stderr
            (config / "config.json").write_text("{")
            broken = pull(source, tmp_path / "x", "--plain-http", env={"DOCKER_CONFIG": str(config)})
            assert broken.returncode == 2 and "config.json" in broken.stderr
