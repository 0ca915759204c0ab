"""What goes into the images: small, without a shell, and the program runs in it as a user without rights."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chart import config, render
from mesh import BIN, ROOT, free_port, wait_until

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
MEGABYTES = {"weft-gateway": 60, "weft-scheduler": 60, "weft-scanner": 60, "weft-collector": 60, "weft-worker": 80,
             "weftctl": 80}
IDENTITY = "65532:65532"
PATH = {"PATH": os.environ["PATH"]}  # nothing else of this environment


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for name in MEGABYTES:
        made[name] = tmp_path_factory.mktemp(name)
        made[name].chmod(0o755)
        subprocess.run([ROOT / "deploy/docker/make_root.sh", BIN / name, made[name]], check=True, timeout=60)
    return made


def inside(root: Path, *command: str, **options) -> list[str]:
    """A command line that runs in the image: as its user where we are root, else as the only user of a namespace."""
    if os.getuid() == 0:
        # pytest's folders are closed to others.
        for parent in [root, *root.parents]:
            if str(parent).startswith("/tmp/"):
                parent.chmod(parent.stat().st_mode | 0o055)
        return ["chroot", f"--userspec={IDENTITY}", str(root), *command]
    return ["unshare", "--map-root-user", "--user", "chroot", str(root), *command]


@pytest.mark.parametrize("name", MEGABYTES)
def test_an_image_is_small(name, roots):
    size = sum(p.lstat().st_size for p in roots[name].rglob("*") if not p.is_dir())
    assert size <= MEGABYTES[name] * 1_000_000, f"{name} has {size / 1e6:.1f} MB"


@pytest.mark.parametrize("name", MEGABYTES)
def test_the_program_runs_with_nothing_but_its_image(name, roots):
    done = subprocess.run(inside(roots[name], f"/usr/bin/{name}", "--version"), capture_output=True, text=True, timeout=30,
                          env=PATH)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(name)


@pytest.mark.parametrize("name", MEGABYTES)
def test_an_image_holds_no_shell_and_no_model(name, roots):
    files = [str(p.relative_to(roots[name])) for p in roots[name].rglob("*") if p.is_file()]
    programs = [f for f in files if re.match(r"(usr/)?s?bin/", f)]
    assert programs == [f"usr/bin/{name}"]
    assert not [f for f in files if f.endswith((".gguf", ".safetensors", ".db", ".key"))]
    assert "etc/ssl/certs/ca-certificates.crt" in files
    writable = [p for p in roots[name].rglob("*") if p.is_dir() and p.stat().st_mode & 0o002]
    assert writable == [roots[name] / "tmp"]


@pytest.mark.parametrize("name", MEGABYTES)
def test_an_image_says_what_is_in_it(name, roots):
    told = json.loads((roots[name] / "usr/share/weft/packages.spdx.json").read_text())
    packages = {p["name"]: p for p in told["packages"]}
    assert {name, "libc6", "libstdc++6"} <= set(packages)
    assert all(p["versionInfo"] for p in packages.values())


def test_a_service_serves_in_its_image_with_the_charts_configuration(roots):
    port, admin = free_port(), free_port()
    told = config(render("dev"), "weft-scanner")
    told["scanner"] |= {"listen": [f"127.0.0.1:{port}"], "admin_listen": f"127.0.0.1:{admin}"}
    told["telemetry"]["otlp_endpoint"] = "127.0.0.1:1"
    root = roots["weft-scanner"]
    (root / "etc/weft/weft.yaml").write_text(json.dumps(told))
    arguments = ["--config", "/etc/weft/weft.yaml"]
    healthcheck = inside(root, "/usr/bin/weft-scanner", *arguments, "--healthcheck")
    before = subprocess.run(healthcheck, capture_output=True, text=True, timeout=30, env=PATH)
    assert before.returncode == 1 and "does not answer" in before.stderr
    process = subprocess.Popen(inside(root, "/usr/bin/weft-scanner", *arguments), stderr=subprocess.PIPE, env=PATH)
    try:
        wait_until(lambda: subprocess.run(healthcheck, capture_output=True, timeout=30, env=PATH).returncode == 0, 60, 0.2)
        ready = inside(root, "/usr/bin/weft-scanner", *arguments, f"--healthcheck=http://127.0.0.1:{admin}/ready")
        wait_until(lambda: subprocess.run(ready, capture_output=True, timeout=30, env=PATH).returncode == 0, 60, 0.2)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


# --- the Dockerfile ---

def stages() -> dict[str, list[tuple[str, str]]]:
    """Stage -> its instructions; lines that go on are joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    out, current = {}, None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            current = re.search(r" AS ([\w-]+)$", line)[1]
            out[current] = [("FROM", rest.split()[0])]
        elif current:
            out[current].append((word, rest))
    return out


def test_every_target_runs_without_rights_and_asks_for_its_own_health():
    made = stages()
    base = dict(made["base"])
    assert base["FROM"] == "scratch" and base["USER"] == IDENTITY
    assert {"title", "description", "version", "revision", "licenses"} == set(
        re.findall(r"org\.opencontainers\.image\.(\w+)=", base["LABEL"]))
    for target, binary in {"gateway": "weft-gateway", "scheduler": "weft-scheduler", "worker-cpu": "weft-worker",
                           "scanner": "weft-scanner", "collector": "weft-collector"}.items():
        stage = dict(made[target])
        assert stage["FROM"] == "base"
        assert stage["ENTRYPOINT"] == f'["/usr/bin/{binary}"]'
        assert f'"/usr/bin/{binary}", "--config", "/etc/weft/weft.yaml", "--healthcheck"' in stage["HEALTHCHECK"]
        assert set(stage) <= {"FROM", "COPY", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def test_exposed_ports_are_the_charts():
    docs = render("dev")
    told = {"gateway": "weft-gateway", "scheduler": "weft-scheduler", "worker-cpu": "weft-worker-default",
            "scanner": "weft-scanner", "collector": "weft-collector"}
    for target, name in told.items():
        workload = next(d for d in docs if d["kind"] in ("Deployment", "StatefulSet") and d["metadata"]["name"] == name)
        ports = {p["containerPort"] for p in workload["spec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {int(p) for p in dict(stages()[target])["EXPOSE"].split()} == ports


def test_the_dockerfile_is_lint_clean():
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
