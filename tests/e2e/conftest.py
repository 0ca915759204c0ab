import subprocess
import sys
from pathlib import Path

import openai
import pytest

from mesh import BIN, ROOT, Mesh


@pytest.fixture(scope="session")
def mesh():
    """One mesh with two workers for all tests that do not hurt it."""
    running = Mesh(workers=2).start()
    yield running
    running.clean_up()


@pytest.fixture
def fresh_mesh():
    """Makes meshes that a test may hurt; cleans up after it."""
    made = []

    def make(**options) -> Mesh:
        made.append(Mesh(**options))
        return made[-1].start()

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture(scope="session")
def model(mesh) -> str:
    with mesh.client() as client:
        return client.get("/v1/models").json()["data"][0]["id"]


@pytest.fixture(scope="session")
def client(mesh) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.admin_key, max_retries=0)


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """Python code for Weft's protos, made by grpcio-tools; the folder is on sys.path."""
    out = tmp_path_factory.mktemp("stubs")
    protos = sorted((ROOT / "proto/weft/v1").glob("*.proto"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}",
         f"--grpc_python_out={out}", *map(str, protos)], check=True)
    sys.path.insert(0, str(out))
    return Path(out)


@pytest.fixture(scope="session")
def weftctl():
    def run(*args, check=True, timeout=120, **options):
        done = subprocess.run([BIN / "weftctl", *map(str, args)], capture_output=True, text=True,
                              timeout=timeout, cwd=ROOT, **options)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
