"""weftctl rollout against a real kube-apiserver with etcd and Kubernetes' own controllers; part of ./weft test --full. The kubelet is
played: see kube_api.py."""

import subprocess

import pytest

from fake_kube import FakePrometheus
from kube_api import KubeApi
from mesh import BIN, wait_until
from test_rollout import LABELS, deployment

pytestmark = pytest.mark.timeout(7000)
APPS = "/apis/apps/v1/namespaces/default/deployments"


@pytest.fixture(scope="module")
def kube(tmp_path_factory):
    one = KubeApi(tmp_path_factory.mktemp("kube")).start()
    one.call("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "gateway"}, "spec": {
        "selector": dict(LABELS), "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]}})
    one.call("POST", APPS, deployment())
    yield one
    one.stop()


@pytest.fixture(scope="module")
def prometheus():
    one = FakePrometheus()
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def settled(kube):
    kube.behaviour.clear()
    wait_until(lambda: workload(kube)["status"].get("availableReplicas") == 4 and workload(kube)["status"].get("replicas") == 4, 120)


def workload(kube, name="gateway") -> dict:
    return kube.call("GET", f"{APPS}/{name}")


def names(kube) -> list[str]:
    return [d["metadata"]["name"] for d in kube.call("GET", APPS)["items"]]


def image(kube) -> str:
    return workload(kube)["spec"]["template"]["spec"]["containers"][0]["image"]


def selector(kube) -> dict:
    return kube.call("GET", "/api/v1/namespaces/default/services/gateway")["spec"]["selector"]


def command(kube, prometheus, name, *options) -> list[str]:
    line = [BIN / "weftctl", "rollout", name, "gateway", "--kubeconfig", kube.folder / "insecure", "--poll", 0]
    if name == "start":
        line += ["--bake", 1, "--settle", 1, "--ready", 60, "--prometheus", prometheus.url]
    return [str(w) for w in [*line, *options]]


def rollout(kube, prometheus, *options) -> subprocess.CompletedProcess:
    return subprocess.run(command(kube, prometheus, *options), capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("strategy, wanted", [("canary", "weft-gateway:2"), ("blue-green", "weft-gateway:3"), ("rolling", "weft-gateway:4")])
def test_a_good_version_serves_in_the_end(strategy, wanted, kube, prometheus):
    done = rollout(kube, prometheus, "start", "--strategy", strategy, "--image", wanted)
    assert done.returncode == 0, done.stderr
    assert image(kube) == wanted and names(kube) == ["gateway"] and selector(kube) == LABELS


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "rolling"])
def test_a_version_that_crashes_is_taken_back(strategy, kube, prometheus):
    before = image(kube)
    kube.behaviour["bad:1"] = "crash"
    done = rollout(kube, prometheus, "start", "--strategy", strategy, "--image", "bad:1")
    assert done.returncode == 1 and "CrashLoopBackOff" in done.stderr and "serves as before" in done.stderr, done.stderr
    assert image(kube) == before and names(kube) == ["gateway"] and selector(kube) == LABELS


def test_an_api_server_that_goes_away_in_the_middle(kube, prometheus):
    kube.behaviour["weft-gateway:9"] = "unready"
    one = subprocess.Popen(command(kube, prometheus, "start", "--image", "weft-gateway:9"), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: "gateway-next" in names(kube), 60)
    kube.stop_api()
    while "the rollout waits" not in (line := one.stderr.readline()):
        assert line, "weftctl ended"
    kube.behaviour.clear()
    kube.start_api()
    rest = one.communicate(timeout=300)[1]
    assert one.returncode == 0 and "answers again" in rest, rest
    assert image(kube) == "weft-gateway:9" and names(kube) == ["gateway"] and selector(kube) == LABELS
