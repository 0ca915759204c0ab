"""Scripts of CI that need tools which are built or installed first; part of ./weft test --full."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mesh import BIN, ROOT, model_path

CI = ROOT / "deploy/ci"
pytestmark = pytest.mark.timeout(3000)


def run(*command, timeout=2800, cwd=ROOT, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, cwd=cwd, **options)


def test_actionlint_of_today_finds_nothing():
    done = run(CI / "lint_texts.sh", env={**os.environ, "WEFT_ACTIONLINT": "go"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_repository_holds_no_secret():
    done = run(CI / "scan_secrets.sh")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_secret_would_be_found(tmp_path):
    gitleaks = run(ROOT / "deploy/tools/go_tool.sh", "gitleaks").stdout.strip()
    token = "gh" + "p_" + "8b1Zq3LxT0vWkR5sYc7NfEa2HdJuMiOpG4Qt"
    (tmp_path / "settings.py").write_text(f'token = "{token}"\n')
    (tmp_path / "libs/scan/rules").mkdir(parents=True)
    (tmp_path / "libs/scan/rules/examples.yaml").write_text(f'bad: "{token}"\n')
    report = tmp_path.parent / "report.json"
    done = run(gitleaks, "dir", "--config", CI / "gitleaks.toml", "--no-banner", "--report-format", "json", "--report-path", report, ".", cwd=tmp_path)
    assert done.returncode == 1 and "settings.py" in report.read_text() and "examples.yaml" not in report.read_text()


@pytest.fixture
def half_covered(tmp_path) -> Path:
    """A library of which a run took 8 of 10 lines: gcc's own counts, in the folders that coverage.sh looks at."""
    if not shutil.which("gcovr"):
        pytest.skip("no gcovr on this machine")
    (tmp_path / "libs/a").mkdir(parents=True)
    lines = ["int taken(int n) {"] + ["  n += 1;"] * 6 + ["  return n;", "}"]
    other = ["int other() {", "  return 1;", "}"]
    (tmp_path / "libs/a/a.cc").write_text("\n".join([*lines, *other, ""]))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/main.cc").write_text("int taken(int);\nint main() { return taken(0) == 6 ? 0 : 1; }\n")
    (tmp_path / "build").mkdir()
    for command in ("g++ -O0 --coverage -c ../libs/a/a.cc", "g++ -O0 --coverage -c ../tests/main.cc", "g++ --coverage a.o main.o -o run", "./run"):
        done = run(*command.split(), cwd=tmp_path / "build")
        assert done.returncode == 0, done.stderr
    return tmp_path


def test_too_little_coverage_fails(half_covered):
    """8 of the library's 10 lines are run; the test's own lines do not count."""
    enough = run(CI / "coverage.sh", "--build", "build", "--least", 80, cwd=half_covered)
    assert enough.returncode == 0 and "lines: 80.0% (8 out of 10)" in enough.stdout, enough.stdout + enough.stderr
    assert (half_covered / "build/reports/coverage.xml").exists()
    short = run(CI / "coverage.sh", "--build", "build", "--least", 81, cwd=half_covered)
    assert short.returncode == 1 and "below 81 %" in short.stderr


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    done = run(ROOT / "deploy/deb/build.sh", BIN, tmp_path_factory.mktemp("deb"))
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_the_package_holds_programs_units_and_a_configuration(package):
    version = run(CI / "release_version.sh").stdout.strip()
    assert package.name.startswith(f"weft_{version}_")
    files = {line.split()[-1] for line in run("dpkg-deb", "-c", package).stdout.splitlines()}
    programs = {f"./usr/bin/weft-{s}" for s in ("gateway", "scheduler", "worker", "scanner", "collector")}
    assert programs | {"./usr/bin/weftctl", "./usr/lib/systemd/system/weft@.service", "./usr/lib/systemd/system/weft.target",
                       "./etc/weft/weft.yaml", "./usr/share/weft/backup.sh"} <= files
    told = run("dpkg-deb", "-f", package).stdout
    assert "libgrpc++" in told and "libsqlite3-0" in told  # found by dpkg-shlibdeps


def test_the_package_installs_serves_and_goes(package):
    done = run(CI / "deb_install.sh", package, model_path())
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.returncode == 0 and "is fine on" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]


def test_kubeconform_finds_every_combination_of_the_chart_strictly_valid(tmp_path):
    """The real kubeconform, offline: Kubernetes' schemas from the Python package that the fast tests use, and the custom
    resources' from tests/data/crds."""
    import kubernetes_validate
    from chart import MATRIX, OVERLAYS, render_text
    kubeconform = run(ROOT / "deploy/tools/go_tool.sh", "kubeconform").stdout.strip()
    schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    own = tmp_path / "schemas"
    own.mkdir()
    for path in sorted(schemas.glob("v1.34.*-local-strict"))[-1].glob("*.json"):  # they refer to each other from a web server's root
        (own / path.name).write_text(path.read_text().replace("/api/_definitions.json", f"file://{own}/_definitions.json"))
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    for i, (values, overlay) in enumerate(MATRIX):
        (rendered / f"{i:03}-{values}.yaml").write_text(render_text((values,), OVERLAYS[overlay]))
    check = [kubeconform, "-strict", "-summary", "-kubernetes-version", "1.34.0",
             "-schema-location", f"{own}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
             "-schema-location", f"{ROOT}/tests/data/crds/{{{{.ResourceKind}}}}_{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}.json"]
    done = run(*check, rendered)
    assert done.returncode == 0 and "Skipped: 0" in done.stdout, done.stdout[-4000:] + done.stderr
    (tmp_path / "wrong.yaml").write_text("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {prots: []}}")
    assert run(*check, tmp_path / "wrong.yaml").returncode == 1


def test_terraform_is_formatted_and_as_the_providers_schemas_say(tmp_path):
    """The machine's Terraform or OpenTofu, else one that is built, for `fmt`; check_terraform.py with the schemas that npm has. `validate`
    needs the providers, from a registry of their own."""
    tofu = shutil.which("tofu") or shutil.which("terraform") or run(ROOT / "deploy/tools/go_tool.sh", "tofu").stdout.strip()
    done = run(tofu, "fmt", "-check", "-diff", "-recursive", ROOT / "deploy/terraform")
    assert done.returncode == 0, done.stdout + done.stderr
    cache = Path(os.environ.get("WEFT_CACHE", Path.home() / ".cache/weft")) / "terraform-schemas"
    done = run(sys.executable, CI / "check_terraform.py", "--schemas", cache)
    assert done.returncode == 0, done.stderr
    shutil.copytree(ROOT / "deploy/terraform", tmp_path / "t")
    for file, old, new in (("aws/stores.tf", "multi_az  ", "multi_as  "), ("gcp/network.tf", "google_compute_router_nat", "google_compute_nat"),
                           ("azure/stores.tf", "capacity                      = var.redis_capacity", ""), ("aws/cluster.tf", "key_arn", "key")):
        path = tmp_path / "t" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    found = run(sys.executable, CI / "check_terraform.py", "--schemas", cache, tmp_path / "t").stderr
    for said in ("multi_as does not exist", "google_compute_nat.weft: the provider has no such resource",
                 "azurerm_redis_cache.weft: capacity is missing", "encryption_config.provider: key does not exist"):
        assert said in found, found
