"""The chart on a real node: Kubernetes of deploy/tools/kube_node.sh, images of the Dockerfile, the default model. Everything that changes
the cluster happens while clients chat, and no request may fail. `./weft test --full k8s` runs it: as root, an hour from nothing."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mesh import BIN, ROOT, model_path, wait_until

pytestmark = pytest.mark.timeout(3600)
NODE = ROOT / "deploy/tools/kube_node.sh"
IMAGES = Path(os.environ.get("WEFT_CACHE", Path.home() / ".cache/weft")) / "images/out"
SERVICES = ("gateway", "scheduler", "worker-cpu", "scanner", "collector")
HERE = Path(__file__).parent
CLIENTS = 20
VALUES = {
    "image": {"registry": "localhost", "tag": "check", "pullPolicy": "IfNotPresent"},
    "keys": {"existingSecret": "weft-keys"},
    "networkPolicy": {"enabled": False},  # the node's bridge enforces none
    "gateway": {"replicas": 2}, "scheduler": {"replicas": 2},
}
# Pods of a restricted namespace may not mount a folder of the node themselves.
VOLUME = [
    {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "models"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "storageClassName": "none",
        "claimRef": {"namespace": "weft", "name": "models"}, "hostPath": {"path": str(model_path().resolve().parent)}}},
    {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": "weft"}, "spec": {
        "accessModes": ["ReadOnlyMany"], "storageClassName": "none", "volumeName": "models", "resources": {"requests": {"storage": "1Gi"}}}},
]


def sh(*command, check=True, timeout=600, **options) -> subprocess.CompletedProcess:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, **options)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


class Node:
    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *command, **options):
        return sh(NODE, "run", *command, **options)

    def kubectl(self, *arguments, **options) -> str:
        return self.run("kubectl", "-n", "weft", *arguments, **options).stdout

    def get(self, *arguments) -> dict:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def helm(self, *arguments, **options) -> str:
        return self.run("helm", "-n", "weft", *arguments, timeout=1200, **options).stdout

    def values(self, **over) -> Path:
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(VALUES | over))
        return path

    def upgrade(self, *options, **over):
        self.helm("upgrade", "--install", "weft", ROOT / "helm/weft", "--values", ROOT / "helm/weft/values/dev.yaml",
                  "--values", self.values(**over), "--wait", "--timeout", "15m", *options)

    def rolled_out(self):
        for kind in ("deployment", "statefulset"):
            for one in self.get(kind)["items"]:
                self.kubectl("rollout", "status", f"{kind}/{one['metadata']['name']}", "--timeout=10m")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("a node needs root")
    missing = [s for s in SERVICES if not (IMAGES / f"{s}.tar").exists()]
    if missing:
        sh(ROOT / "deploy/ci/images_buildah.sh", *missing, timeout=7200, env={**os.environ, "WEFT_IMAGES_OUT": str(IMAGES)})
    sh(NODE, "down", check=False)
    sh(NODE, "up", timeout=7200)
    one = Node(tmp_path_factory.mktemp("node"))
    try:
        for service in SERVICES:
            sh(NODE, "import", IMAGES / f"{service}.tar")
        yield one
    finally:
        sh(NODE, "down", check=False)


@pytest.fixture(scope="module")
def key(node, weftctl) -> str:
    """A namespace in which the restricted Pod Security Standard is enforced, with the keys' Secret."""
    node.run("kubectl", "create", "namespace", "weft")
    node.run("kubectl", "label", "namespace", "weft", "pod-security.kubernetes.io/enforce=restricted",
             "pod-security.kubernetes.io/enforce-version=latest")
    (node.folder / "volume.yaml").write_text(yaml.safe_dump_all(VOLUME))
    node.kubectl("apply", "-f", node.folder / "volume.yaml")
    made = weftctl("keys", "generate", "--role", "admin", "--name", "first", "--file", str(node.folder / "keys.json"))
    node.kubectl("create", "secret", "generic", "weft-keys", f"--from-file=keys.json={node.folder / 'keys.json'}")
    return made.stdout.split()[-1]


@pytest.fixture(scope="module")
def url(node, key) -> str:
    node.upgrade()
    address = node.get("service", "weft-gateway")["spec"]["clusterIP"]
    return f"http://{address}:{node.get('service', 'weft-gateway')['spec']['ports'][0]['port']}"


@contextmanager
def load(node, url, key, clients=CLIENTS):
    """Clients that chat all the while; none of their requests may fail."""
    process = subprocess.Popen([NODE, "run", sys.executable, HERE / "node_load.py", url, key, "SmolLM2-135M-Instruct", str(clients)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        text = process.communicate("", timeout=300)[0]
    told = json.loads(text)
    print(told)
    assert told["requests"] >= clients and told["failed"] == 0, told


def test_a_chat_through_the_service(node, url, key):
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import node_load; print(node_load.chat({url!r}, {key!r}, 'SmolLM2-135M-Instruct', 40))"
    assert "def " in node.run(sys.executable, "-c", code).stdout
    assert "Phase:" in node.helm("test", "weft")


def test_every_pod_is_as_restricted_as_the_namespace_demands(node, url):
    pods = node.get("pods")["items"]
    assert pods
    for pod in pods:
        for container in pod["spec"]["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"] and not security["allowPrivilegeEscalation"]
    warnings = node.run("kubectl", "label", "--dry-run=server", "--overwrite", "namespace", "weft", "pod-security.kubernetes.io/enforce=restricted")
    assert "violate" not in warnings.stderr


def test_an_upgrade_under_load_fails_no_request(node, url, key):
    before = {p["metadata"]["name"] for p in node.get("pods")["items"]}
    with load(node, url, key):
        node.upgrade(logLevel="info")
        node.rolled_out()
    assert not before & {p["metadata"]["name"] for p in node.get("pods", "-l", "app.kubernetes.io/component=gateway")["items"]}


def test_scaling_under_load_fails_no_request(node, url, key):
    with load(node, url, key):
        for replicas in (3, 1):
            node.kubectl("scale", "deployment/weft-worker-default", f"--replicas={replicas}")
            node.rolled_out()
            wait_until(lambda r=replicas: len(node.get("pods", "-l", "app.kubernetes.io/component=worker")["items"]) == r, 180, every=1)


@pytest.mark.parametrize("component", ["scheduler", "worker", "scanner", "collector"])
def test_a_deleted_pod_fails_no_request(component, node, url, key):
    """Of gateways, those connections fail that the pod holds: see docs/deploy/kubernetes.md."""
    if component == "worker":
        node.kubectl("scale", "deployment/weft-worker-default", "--replicas=2")
        node.rolled_out()
    with load(node, url, key):
        pod = node.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"][0]["metadata"]["name"]
        node.kubectl("delete", "pod", pod)
        node.rolled_out()


def test_a_version_that_crashes_is_taken_back_by_weftctl_rollout(node, url, key):
    config = Path(os.environ.get("WEFT_KUBE_RUN", "/run/weft-kube")) / "kubeconfig"

    with load(node, url, key, clients=5):
        done = node.run(BIN / "weftctl", "rollout", "start", "deployment/weft-gateway", "-n", "weft", "--kubeconfig", config, "--unmeasured",
                        "--image", "localhost/weft-scanner:check", "--bake", "5", "--ready", "120", check=False)
    assert done.returncode == 1 and "serves as before" in done.stderr, done.stderr
    assert len(node.get("deployments")["items"]) == 3


def test_a_rollback_under_load_fails_no_request(node, url, key):
    with load(node, url, key):
        node.helm("rollback", "weft", "1", "--wait", "--timeout", "15m")
        node.rolled_out()
    history = json.loads(node.helm("history", "weft", "-o", "json"))
    assert history[-1]["description"] == "Rollback to 1"


def test_an_uninstallation_leaves_nothing_but_what_it_says(node, url):
    node.helm("uninstall", "weft", "--wait", "--timeout", "10m")
    wait_until(lambda: not node.get("pods")["items"], 180, every=1)
    left = {item["kind"] + "/" + item["metadata"]["name"]
            for kind in ("deployments", "statefulsets", "services", "configmaps", "serviceaccounts", "jobs", "secrets", "ingresses")
            for item in node.get(kind)["items"]}
    assert left == {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default", "Secret/weft-keys"}, left
