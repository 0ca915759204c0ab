"""The OpenAPI document against the gateway it describes: schemathesis sends what the document allows and what it
forbids, and every answer must be one that the document has."""

import os
import re
import subprocess
import sys

import pytest

from identity_gateway import PEPPER, SECRET
from mesh import BIN, ROOT, Mesh

# That a valid request is accepted is left out: whether a text fits the model's context, or the model can fill in at
# all, is nothing that a schema can say.
CHECKS = "positive_data_acceptance"
EXAMPLES = int(os.environ.get("WEFT_OPENAPI_EXAMPLES", "2"))
# Not /metrics: its text is Prometheus'.
ALL = r"^/(v1/.*|auth/.*|models/.*|infill|generate|predict|health|ready|api/health|openapi.json|docs)$"
QUICK = r"^/(v1/(models|keys|admin|usage|cache).*|auth/.*|models/.*|predict|health|ready|api/health|openapi.json)$"


@pytest.fixture(scope="session")
def mesh():
    """A user whom the document's example names, and no limit on what is refused: everything is tried many times."""
    password = "correct horse battery staple\n"
    hashed = subprocess.run([BIN / "weftctl", "hash-password"], input=password, text=True, capture_output=True, check=True)
    running = Mesh(workers=1, extra={"gateway": {
        "failed_auth": {"per_minute": 0}, "key_pepper": PEPPER,
        "identity": {"jwt_secret": SECRET, "failed_logins": 1_000_000,
                     "users": [{"name": "ann", "password_hash": hashed.stdout.strip()}]}}}).start()
    yield running
    running.clean_up()


@pytest.fixture
def schemathesis(mesh, model):
    def run(*args) -> str:
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks", "WEFT_OPENAPI_MODEL": model,
                       "PYTHONPATH": str(ROOT / "tests/e2e"), "NO_COLOR": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{mesh.url}/openapi.json", "--url", mesh.url,
             "-H", f"Authorization: Bearer {mesh.admin_key}", "--phases", "examples,coverage,fuzzing",
             "--generation-deterministic", "--max-examples", str(EXAMPLES), "--continue-on-failure",
             "--exclude-checks", CHECKS, "--warnings", "off", "--no-color", *args],
            capture_output=True, text=True, env=environment, timeout=1500, cwd=mesh.home)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert int(re.search(r"(\d+) generated, \d+ passed", done.stdout)[1]) > 100
        return done.stdout

    return run


@pytest.mark.timeout(1600)
def test_answers_are_those_that_the_document_has(schemathesis):
    if "WEFT_OPENAPI_EXAMPLES" in os.environ:
        schemathesis("--include-path-regex", ALL)
    else:  # without the long generations; ./weft test --full has all
        schemathesis("--include-path-regex", QUICK)
