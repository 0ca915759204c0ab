"""Runs a suite of node/ with the official openai client for Node, unmodified."""

import os
import subprocess
from pathlib import Path

from mesh import ROOT, Mesh


def run_suite(name: str, mesh: Mesh, model: str) -> None:
    home = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
    done = subprocess.run(
        ["node", "--test", f"tests/e2e/node/{name}"], cwd=ROOT, text=True,
        capture_output=True, timeout=120,
        env={**os.environ, "WEFT_URL": mesh.url, "WEFT_KEY": mesh.admin_key,
             "WEFT_MODEL_ID": model, "WEFT_NODE_HOME": str((home / "node").resolve())})
    assert done.returncode == 0, done.stdout + done.stderr
