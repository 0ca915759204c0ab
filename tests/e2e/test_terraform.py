"""deploy/terraform: consistent in itself. Against the providers' schemas: test_ci_full.py."""

import re
import shutil
import subprocess
import sys

import pytest

from mesh import ROOT

CHECK = ROOT / "deploy/ci/check_terraform.py"
TERRAFORM = ROOT / "deploy/terraform"


def check(*args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, CHECK, *map(str, args)], capture_output=True, text=True, timeout=120)


def test_every_name_is_declared_and_every_variable_used_and_described():
    done = check()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file, old, new, said", [
    ("aws/network.tf", "aws_vpc.weft.id", "aws_vpc.other.id", "aws_vpc.other is not declared"),
    ("gcp/stores.tf", "var.database.type", "var.databse.type", "var.databse is not declared"),
    ("azure/outputs.tf", 'description = "host of the database"', "", "output database has no description"),
    ("aws/release.tf", "host         = var.host\n", "", "module release: host is missing"),
    ("aws/release.tf", "host         = var.host\n", "hots = var.host\n", "module release: hots is no variable of it"),
    ("gcp/variables.tf", 'variable "project" {', 'variable "more" {\n  type = string\n}\n\nvariable "project" {', "variable more is never used"),
])
def test_a_slip_is_found(tmp_path, file, old, new, said):
    shutil.copytree(TERRAFORM, tmp_path / "t")
    path = tmp_path / "t" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    done = check(tmp_path / "t")
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_the_readme_names_every_variable():
    told = (TERRAFORM / "README.md").read_text()
    for path in TERRAFORM.glob("*/variables.tf"):
        for name in re.findall(r'(?m)^variable "(\w+)"', path.read_text()):
            assert f"`{name}`" in told, (path.parent.name, name)


def test_no_password_is_written_down_and_what_holds_data_is_protected():
    for path in TERRAFORM.glob("*/*.tf"):
        text = path.read_text()
        assert not re.search(r'(password|secret|token)\s*=\s*"[^$"]+"', text), path
        for sensitive in ("keys_json", "database_url", "redis_url"):
            for block in re.findall(rf'variable "{sensitive}" {{(.*?)\n}}', text, re.S):
                assert "sensitive   = true" in block, (path, sensitive)
