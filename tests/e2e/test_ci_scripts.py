"""The scripts that CI's jobs run, run here: each finds what it is there for, and nothing where nothing is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mesh import BIN, ROOT, model_path

CI = ROOT / "deploy/ci"


def run(*command, timeout=170, cwd=ROOT, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, cwd=cwd, **options)


# --- contracts ---

@pytest.fixture
def protos(tmp_path):
    """Checks a contract of the test's own: `check(now)` its style, `check(now, before)` also compatibility."""
    repository = tmp_path / "repository"
    file = repository / "proto/weft/v1/a.proto"
    file.parent.mkdir(parents=True)
    (repository / "deploy/ci").mkdir(parents=True)
    script = repository / "deploy/ci/check_protos.py"
    script.write_text((CI / "check_protos.py").read_text())

    def git(*args):
        assert run("git", "-c", "user.name=t", "-c", "user.email=t@example", *args, cwd=repository).returncode == 0

    def check(now: str, before: str | None = None) -> str:
        head = 'syntax = "proto3";\npackage weft.v1;\n'
        against = []
        if before is not None:
            file.write_text(head + before)
            git("init", "-q")
            git("add", "-A")
            git("commit", "-q", "-m", "before")
            against = ["--against", "HEAD"]
        file.write_text(head + now)
        done = run(sys.executable, script, *against, cwd=repository)
        assert done.returncode == (0 if "are fine" in done.stdout else 1), done.stderr
        return done.stdout

    return check


@pytest.mark.parametrize("text, told", [
    ("message bad_name {}", "message bad_name is not PascalCase"),
    ("message A { int32 badName = 1; }", "field A.badName is not snake_case"),
    ("enum Kind { KIND_A = 0; }", "its zero is KIND_A, not KIND_UNSPECIFIED"),
    ("enum TextKind { TEXT_KIND_UNSPECIFIED = 0; CODE = 1; }", "CODE does not begin with TEXT_KIND_"),
    ("message R {} service Things { /* c */ rpc Do(R) returns (R); }", "service Things is not called …Service"),
    ("message DoRequest {} message DoResponse {} service AService { rpc Do(DoRequest) returns (DoResponse); }", "AService.Do has no comment"),
])
def test_a_contract_of_bad_style_is_found(protos, text, told):
    assert told in protos(text)


BEFORE = """message A { int32 a = 1; string b = 2; repeated int32 c = 3; optional int32 d = 4; oneof o { int32 e = 5; } }
enum Kind { KIND_UNSPECIFIED = 0; KIND_ONE = 1; }
message DoRequest {} message DoResponse {}
// It does.
service AService {
  // Does.
  rpc Do(DoRequest) returns (DoResponse);
}
"""


@pytest.mark.parametrize("old, new, told", [
    ("int32 a = 1;", "", 'field weft.v1.A.a is gone: reserve 1 and "a"'),
    ("int32 a = 1;", "int64 a = 1;", "type 'TYPE_INT32' became 'TYPE_INT64'"),
    ("string b = 2;", "string name = 2;", "name 'b' became 'name'"),
    ("repeated int32 c", "int32 c", "cardinality 'LABEL_REPEATED' became 'LABEL_OPTIONAL'"),
    ("optional int32 d", "int32 d", "presence True became False"),
    ("oneof o { int32 e = 5; }", "int32 e = 5;", "oneof 'o' became None"),
    ("KIND_ONE = 1;", "", 'value weft.v1.Kind.KIND_ONE is gone: reserve 1 and "KIND_ONE"'),
    ("KIND_ONE = 1;", "KIND_TWO = 1;", "value weft.v1.Kind.KIND_ONE = 1 became KIND_TWO"),
    ("returns (DoResponse)", "returns (stream DoResponse)", "rpc weft.v1.AService/Do: server_streaming False became True"),
    ("message DoRequest {}", "message DoRequest {} message Do2Request {}", None),
    ("int32 a = 1;", 'reserved 1; reserved "a";', None),
    ("int32 a = 1;", "int32 a = 1; int32 f = 6;", None),
])
def test_a_contract_that_breaks_its_peers_is_found(protos, old, new, told):
    assert old in BEFORE
    said = protos(BEFORE.replace(old, new), BEFORE)
    assert told in said if told else "are fine" in said, said


# --- texts ---

def test_nothing_is_wrong_with_our_texts_and_contracts():
    done = run(CI / "lint_texts.sh", "HEAD")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check_protos" in done.stdout and "check_links" in done.stdout and "actionlint" in done.stdout


def test_links_that_lead_nowhere_are_found():
    """The file is beside the README: its links begin there."""
    file = ROOT / "docs/.links-under-test.md"
    try:
        file.write_text("# One\n\n[a](mesh.md) [b](no.md) [c](#one) [d](#two) [e](mesh.md#no-such) [f](http://example.org)\n"
                        "`[g](gone.md)`\n```\n[h](gone.md)\n```\n[i](../../../etc/passwd)\n")
        done = run(sys.executable, CI / "check_links.py", file)
    finally:
        file.unlink()
    found = [line.split(": ", 2)[1] for line in done.stdout.splitlines()]
    assert done.returncode == 1 and found == ["no.md", "#two", "mesh.md#no-such", "http://example.org", "../../../etc/passwd"], done.stdout


# --- against a mesh ---

@pytest.fixture
def with_key(mesh) -> dict:
    return {**os.environ, "WEFT_API_KEY": mesh.admin_key}


def test_smoke_passes_on_a_mesh_that_runs(mesh, with_key):
    done = run(CI / "smoke.py", mesh.url, "--wait", 10, env=with_key)
    assert done.returncode == 0 and done.stdout.count(": ok") == 5, done.stdout + done.stderr


def test_smoke_fails_where_nothing_is_and_with_a_wrong_key(mesh):
    nothing = run(CI / "smoke.py", "http://127.0.0.1:1")
    assert nothing.returncode == 1 and "health: FAILED" in nothing.stdout
    wrong = run(CI / "smoke.py", mesh.url, env={**os.environ, "WEFT_API_KEY": "wrong"})
    assert wrong.returncode == 1 and "models: FAILED: 401" in wrong.stdout


def validate(mesh, with_key, out: Path, *options) -> subprocess.CompletedProcess:
    return run(CI / "model_validation.py", mesh.url, "--requests", 6, "--max-tokens", 8, "--out", out, *options, env=with_key)


def test_a_model_is_validated_against_the_thresholds(mesh, with_key, model, tmp_path):
    done = validate(mesh, with_key, tmp_path, "--average", 100, "--longest", 120)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "model_validation.json").read_text())
    assert report["model"] == model and report["concurrency"] == 3 and len(report["results"]) == 6
    assert all(0 < r["tokens"] <= 8 and not r["error"] for r in report["results"])
    assert ElementTree.parse(tmp_path / "model_validation.xml").getroot().get("failures") == "0"


def test_a_model_that_misses_a_threshold_fails(mesh, with_key, tmp_path):
    done = validate(mesh, with_key, tmp_path, "--average", 1e-6)
    assert done.returncode == 1 and "MISSED" in (tmp_path / "model_validation.md").read_text(), done.stdout
    assert ElementTree.parse(tmp_path / "model_validation.xml").getroot().find("*/failure") is not None
    absent = validate(mesh, with_key, tmp_path, "--model", "no-such-model")
    assert absent.returncode == 1 and json.loads((tmp_path / "model_validation.json").read_text())["verdicts"][0]["value"] == 0


def test_validation_refuses_fewer_than_three_at_a_time_and_says_when_nothing_answers(tmp_path):
    few = run(CI / "model_validation.py", "http://127.0.0.1:1", "--concurrency", 2)
    assert few.returncode == 2 and "at least 3 at a time" in few.stderr
    nothing = run(CI / "model_validation.py", "http://127.0.0.1:1", "--out", tmp_path)
    assert nothing.returncode == 2 and "lists no models" in nothing.stderr


# --- releases ---

@pytest.fixture
def repository(tmp_path):
    """A repository of the test's own: `commit(subject, file…)`, `git(…)`."""
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*args) -> str:
        done = run("git", "-c", "user.name=t", "-c", "user.email=t@example", *args, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(subject: str, *files: str):
        for file in files:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(subject)
        git("add", "-A")
        git("commit", "-q", "-m", subject)

    git("init", "-q")
    return folder, git, commit


def test_a_changelog_has_what_came_since_the_last_release_under_its_part(repository):
    folder, git, commit = repository
    commit("Old", "services/a.cc")
    git("tag", "v0.9.0")
    commit("Answer faster", "services/a.cc", "tests/a.cc", "docs/a.md", "docs/b.md")
    commit("Say how", "docs/a.md")
    commit("Roll out", "helm/weft/values.yaml", "weft")
    git("tag", "not-a-release")
    git("tag", "v0.10.0")
    said = run(sys.executable, CI / "changelog.py", cwd=folder).stdout
    assert said.startswith("Changes since v0.9.0.\n") and "Old" not in said
    sections = dict(zip(said.split("\n## ")[1:], range(9)))
    names = [s.split("\n")[0] for s in sections]
    assert names == ["Services", "Deployment", "Documents"], said
    assert "## Services\n\n- Answer faster (" in said and "## Documents\n\n- Say how (" in said
    commit("Next", "libs/a.cc")
    assert run(sys.executable, CI / "changelog.py", cwd=folder).stdout.startswith("Changes since v0.10.0.\n\n## Engine and libraries\n\n- Next")
    assert run(sys.executable, CI / "changelog.py", "--since", "nowhere", cwd=folder).returncode == 1


def test_our_own_changelog_names_every_commit():
    said = run(sys.executable, CI / "changelog.py").stdout
    assert said.count("\n- ") >= 100 or "Changes since v" in said


def test_the_version_is_the_same_everywhere_and_the_tag_must_be_it():
    version = run(CI / "release_version.sh").stdout.strip()
    assert run(CI / "release_version.sh", f"v{version}").returncode == 0
    other = run(CI / "release_version.sh", "v99.0.0")
    assert other.returncode == 1 and f"the tag is v99.0.0, the version {version}" in other.stderr


def test_checksums_see_changed_missing_and_added_files(tmp_path):
    for name in ("b", "a", "sub/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    sums = CI / "checksums.sh"
    assert run(sums, tmp_path).returncode == 0 and run(sums, "--check", tmp_path).returncode == 0
    assert [line.split()[1] for line in (tmp_path / "SHA256SUMS").read_text().splitlines()] == ["a", "b", "sub/c"]
    (tmp_path / "d").write_text("")
    assert run(sums, "--check", tmp_path).returncode == 1
    (tmp_path / "d").unlink()
    (tmp_path / "a").write_text("other")
    assert run(sums, "--check", tmp_path).returncode == 1
    (tmp_path / "a").unlink()
    assert run(sums, "--check", tmp_path).returncode == 1


def test_release_files_are_chart_changelog_and_sbom_with_sums(tmp_path):
    version = run(CI / "release_version.sh").stdout.strip()
    done = run(CI / "release_files.sh", version, env={**os.environ, "WEFT_RELEASE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CHANGELOG.md", "SHA256SUMS", f"weft-{version}.spdx.json", f"weft-{version}.tgz"]
    document = json.loads((tmp_path / f"weft-{version}.spdx.json").read_text())
    ids = [p["SPDXID"] for p in document["packages"]]
    assert len(ids) == len(set(ids)) and {"SPDXRef-deb-libgrpc-plus-plus-dev", "SPDXRef-pypi-openai", "SPDXRef-npm-openai"} <= set(ids)
    assert all(r["relatedSpdxElement"] in ids for r in document["relationships"])
    names = run("tar", "tzf", tmp_path / f"weft-{version}.tgz").stdout
    assert "weft/values.schema.json" in names


def test_the_released_images_are_the_dockerfiles_targets():
    assert run(CI / "images.sh").stdout.split() == ["gateway", "scheduler", "worker-cpu", "scanner", "collector", "weftctl"]
    assert set(run(CI / "images.sh", "--cuda").stdout.split()) == {*run(CI / "images.sh").stdout.split(), "worker-cuda"}


# --- benchmarks ---

def bench_run(prefill=100.0, decode=10.0, rss=1e8, batch=40.0) -> str:
    return json.dumps({"prefill_tok_s": prefill, "decode_tok_s": decode, "peak_rss_bytes": rss, "batch": [{"n": 8, "tok_s": batch}]})


@pytest.mark.parametrize("head, bad", [
    ([{}, {}, {}], ""), ([{"decode": 9.1}] * 3, ""), ([{"decode": 8.9}] * 3, "decode"), ([{"decode": 1}, {}, {}], ""),
    ([{"prefill": 80}] * 2 + [{}], "prefill"), ([{"rss": 1.2e8}] * 3, "1 / memory"), ([{"batch": 30}] * 3, "8 sequences"),
    ([{"decode": 20}] * 3, ""),
])
def test_a_benchmark_is_worse_when_the_median_lost_more_than_a_tenth(tmp_path, head, bad):
    for which, runs in (("base", [{}] * 3), ("head", head)):
        (tmp_path / which).mkdir()
        for i, values in enumerate(runs):
            (tmp_path / which / f"{i}.json").write_text(bench_run(**values))
    done = run(sys.executable, CI / "bench_ratio.py", tmp_path / "base", tmp_path / "head")
    worse = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "WORSE" in line]
    assert (done.returncode, worse) == ((1, [bad]) if bad else (0, [])), done.stdout


def test_two_builds_are_measured_in_turns(tmp_path):
    """The real program against itself; how fast it is does not matter here."""
    options = {**os.environ, "WEFT_BENCH_OPTIONS": "--prefill 16 --decode 4 --batch 1 2 --threads 1 --repetitions 1"}
    done = run(CI / "bench_pair.sh", BIN / "weftctl", BIN / "weftctl", model_path(), tmp_path, 2, env=options)
    assert done.returncode == 0, done.stderr
    done = run(sys.executable, CI / "bench_ratio.py", tmp_path / "base", tmp_path / "head", "--allow", 99.9)
    assert done.returncode == 0 and "2 sequences" in done.stdout, done.stdout + done.stderr
