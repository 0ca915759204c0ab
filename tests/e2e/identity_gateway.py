"""weft-gateway alone, with a configuration of identity: nothing here needs a model."""

import json
import os
import subprocess
from pathlib import Path

import httpx

from mesh import BIN, ROOT, parse_metrics, wait_until

HOME = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
SECRET = "a token secret of at least 32 bytes!"
PEPPER = "a pepper of at least thirty-two bytes"


class Gateway:
    """`more`: what else is in the section `gateway`."""

    def __init__(self, folder: Path, port: int, identity: dict, database: str = "", **more):
        self.url = f"http://127.0.0.1:{port}"
        self.database = database or str(folder / "gateway.db")
        config = {"gateway": {
            "listen": f"127.0.0.1:{port}", "grpc_listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0", "scanner": "",
            "scheduler": f"unix:{folder}/none.sock", "database": self.database,
            "admin_key_file": str(folder / "admin.key"), "key_pepper": PEPPER,
            "usage": {"folder": str(folder / "usage")},
            "identity": {"jwt_secret": SECRET, **identity}, **more}}
        (folder / "weft.yaml").write_text(json.dumps(config, indent=1))  # JSON is YAML
        self.log = folder / "gateway.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [BIN / "weft-gateway", "--config", folder / "weft.yaml"], stdout=log, stderr=log)
        wait_until(self.is_up, 20)
        self.admin = {"X-API-Key": (folder / "admin.key").read_text().strip()}

    def new_key(self, **fields) -> dict:
        answer = httpx.post(f"{self.url}/v1/keys", headers=self.admin, json={"name": "x", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def me(self, headers: dict) -> httpx.Response:
        return httpx.get(f"{self.url}/auth/me", headers=headers)

    def failures(self, reason: str) -> float:
        samples = parse_metrics(httpx.get(f"{self.url}/metrics").text)
        return samples.get(f'weft_auth_failures_total{{reason="{reason}"}}', 0)

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def login(gateway: Gateway, user: str, password: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/auth/login", json={"username": user, "password": password},
                      timeout=30)


def cookies_of(answer: httpx.Response) -> dict:
    return dict(line.split(";")[0].split("=", 1)
                for line in answer.headers.get_list("set-cookie"))
