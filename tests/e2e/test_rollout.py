"""weftctl rollout against an API server and a Prometheus that the test plays: every strategy, good and bad versions, an API server that
goes away in the middle, a weftctl that is killed. The same against a real kube-apiserver: test_rollout_kube.py."""

import signal
import subprocess
import time

import pytest

from fake_kube import FakeKube, FakePrometheus
from mesh import BIN, wait_until

LABELS = {"app": "gateway", "app.kubernetes.io/component": "gateway"}


def deployment(replicas=4, image="weft-gateway:1") -> dict:
    container = {"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9100}]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway", "labels": dict(LABELS)},
            "spec": {"replicas": replicas, "selector": {"matchLabels": dict(LABELS)}, "strategy": {"type": "RollingUpdate"},
                     "template": {"metadata": {"labels": dict(LABELS)}, "spec": {"containers": [container]}}}}


@pytest.fixture
def kube():
    one = FakeKube()
    one.add("services", {"metadata": {"name": "gateway"}, "spec": {"selector": dict(LABELS)}})
    one.add("services", {"metadata": {"name": "other"}, "spec": {"selector": {"app": "other"}}})
    one.add("deployments", deployment())
    yield one
    one.stop()


@pytest.fixture
def prometheus():
    one = FakePrometheus()
    yield one
    one.stop()


@pytest.fixture
def rollout(kube, prometheus, tmp_path):
    """Runs `weftctl rollout COMMAND gateway …`; with wait=False it is a process that goes on."""
    (tmp_path / "config").write_text(
        f"kind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u, namespace: weft}}}}]\n"
        f"clusters: [{{name: c, cluster: {{server: '{kube.url}'}}}}]\nusers: [{{name: u, user: {{token: test}}}}]\n")
    started = []

    def run(command, *options, wait=True, image="weft-gateway:2"):
        line = [BIN / "weftctl", "rollout", command, "gateway", "--kubeconfig", tmp_path / "config"]
        if command == "start":
            usual = {"--image": image, "--bake": 0, "--settle": 0, "--ready": 20, "--prometheus": prometheus.url}
            if "--unmeasured" in options:
                del usual["--prometheus"]
            line += [word for option, value in usual.items() if option not in options for word in (option, value)]
        if command != "status":
            line += ["--poll", 0]
        one = subprocess.Popen([str(w) for w in [*line, *options]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(one)
        if not wait:
            return one
        text = one.communicate(timeout=60)[0]
        return subprocess.CompletedProcess(line, one.returncode, text)

    yield run
    for one in started:
        one.kill()
        one.wait()


def image(kube) -> str:
    return kube.of("deployments")["gateway"]["spec"]["template"]["spec"]["containers"][0]["image"]


def assert_clean(kube):
    assert list(kube.of("deployments")) == ["gateway"] and not kube.of("jobs")
    assert kube.of("services")["gateway"]["spec"]["selector"] == LABELS and kube.of("services")["other"]["spec"]["selector"] == {"app": "other"}


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "rolling"])
def test_a_good_version_serves_in_the_end(strategy, kube, rollout):
    done = rollout("start", "--strategy", strategy)
    assert done.returncode == 0, done.stdout
    assert "done: weft-gateway:2 serves" in done.stdout and image(kube) == "weft-gateway:2"
    assert_clean(kube)
    # Never fewer than all four pods behind the Service.
    behind = [s for s in kube.served if s]
    assert min(sum(s.values()) for s in behind) >= 4
    if strategy == "canary":
        shares = [s.get("weft-gateway:2", 0) for s in behind]
        assert 1 in shares and 2 in shares and 4 in shares
    if strategy == "blue-green":  # never both, until the new one has proved itself and the workload follows
        first = next(i for i, s in enumerate(behind) if "weft-gateway:2" in s)
        assert all(set(s) == {"weft-gateway:1"} for s in behind[:first])
        assert set(behind[first]) == {"weft-gateway:2"}
    status = rollout("status")
    assert status.returncode == 0 and "done" in status.stdout


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "rolling"])
@pytest.mark.parametrize("fault, says", ids=["crash", "errors", "slow"], argvalues=[
    ("crash", "CrashLoopBackOff: Error, exit code 78: weft.yaml:3: unknown key"),
    ("errors", "20.00 % of 100 requests failed; 5.00 % are allowed"),
    ("slow", "the first token takes 9.00 s (95th percentile), 0.20 s in the version before")])
def test_a_bad_version_is_taken_back(strategy, fault, says, kube, prometheus, rollout):
    if fault == "crash":
        kube.behaviour["weft-gateway:2"] = "crash"
    else:
        bad = {"requests": 100, "errors": 0.2 if fault == "errors" else 0, "ttft": 9.0 if fault == "slow" else 0.2, "tokens": 50}
        old = kube.of("deployments")["gateway"]  # queries name the old pods by their hash
        digest = next(iter(kube.children("replicasets", old)))["metadata"]["labels"]["pod-template-hash"]
        prometheus.told = {digest: prometheus.told[""], "": bad}
    done = rollout("start", "--strategy", strategy, "--bake", 30)
    assert done.returncode == 1 and says in done.stdout, done.stdout
    assert "weft-gateway:1 serves as before" in done.stdout
    assert image(kube) == "weft-gateway:1"
    assert_clean(kube)
    assert min(sum(s.values()) for s in kube.served if s) >= 4
    if fault == "crash":
        assert all(s.get("weft-gateway:2", 0) == 0 for s in kube.served)


def test_a_failed_smoke_test_keeps_the_selector_where_it_is(kube, rollout):
    kube.behaviour["weft-gateway:2"] = "smoke"
    done = rollout("start", "--strategy", "blue-green")
    assert done.returncode == 1 and "the smoke test failed: Job has reached the specified backoff limit" in done.stdout
    assert all("weft-gateway:2" not in s for s in kube.served)
    assert_clean(kube)


def test_an_api_server_that_goes_away_is_waited_for(kube, rollout):
    kube.behaviour["weft-gateway:2"] = "unready"
    one = rollout("start", wait=False)
    wait_until(lambda: "gateway-next" in kube.of("deployments"), 20)
    kube.stop()
    line = ""
    while "the rollout waits" not in line:
        line = one.stdout.readline()
        assert line, "weftctl ended"
    kube.behaviour.clear()
    kube.start()
    rest = one.communicate(timeout=60)[0]
    assert one.returncode == 0 and "the API server answers again" in rest and "done" in rest, rest
    assert_clean(kube)


def test_without_patience_it_says_how_to_go_on(kube, rollout):
    kube.behaviour["weft-gateway:2"] = "unready"
    one = rollout("start", "--patience", 0, wait=False)
    wait_until(lambda: "gateway-next" in kube.of("deployments"), 20)
    kube.stop()
    text = one.communicate(timeout=60)[0]
    assert one.returncode == 1 and "`weftctl rollout resume gateway` goes on" in text, text
    kube.behaviour.clear()
    kube.start()
    done = rollout("resume")
    assert done.returncode == 0 and image(kube) == "weft-gateway:2", done.stdout
    assert_clean(kube)


def test_a_killed_rollout_is_resumed_or_taken_back(kube, rollout):
    for command in ("back", "resume"):
        kube.behaviour["weft-gateway:2"] = "unready"
        one = rollout("start", "--steps", "50,100", wait=False)
        wait_until(lambda: "gateway-next" in kube.of("deployments"), 20)
        one.send_signal(signal.SIGKILL)
        one.wait()
        second = rollout("start", image="weft-gateway:3")
        assert second.returncode == 1 and "a rollout to weft-gateway:2 stands at: step 1 of 2 (50 %)" in second.stdout
        kube.behaviour.clear()
        done = rollout(command)
        assert done.returncode == 0, done.stdout
        assert image(kube) == ("weft-gateway:2" if command == "resume" else "weft-gateway:1")
        assert_clean(kube)


def test_a_rollout_that_is_taken_over_ends_the_first_driver(kube, rollout):
    kube.behaviour["weft-gateway:2"] = "unready"
    one = rollout("start", wait=False)
    wait_until(lambda: "gateway-next" in kube.of("deployments"), 20)
    two = rollout("resume", wait=False)
    while "waiting for its pods" not in two.stdout.readline():
        assert two.poll() is None
    kube.behaviour.clear()
    texts = [p.communicate(timeout=60)[0] for p in (one, two)]
    assert sorted([one.returncode, two.returncode]) in ([0, 0], [0, 1])
    assert two.returncode == 0, texts
    if one.returncode:
        assert "another weftctl drives the rollout" in texts[0]
    assert_clean(kube)


def test_sigint_leaves_it_standing(kube, rollout):
    kube.behaviour["weft-gateway:2"] = "unready"
    one = rollout("start", wait=False)
    wait_until(lambda: "gateway-next" in kube.of("deployments"), 20)
    one.send_signal(signal.SIGINT)
    text = one.communicate(timeout=20)[0]
    assert one.returncode == 1 and "interrupted" in text and "weftctl rollout back gateway" in text
    assert "waiting for its pods" in rollout("status").stdout


def test_what_cannot_be_rolled_out_is_said_before_anything_changes(kube, prometheus, rollout):
    before = image(kube)

    def refused(*options, **more) -> str:
        done = rollout("start", *options, **more)
        assert done.returncode != 0 and image(kube) == before and list(kube.of("deployments")) == ["gateway"]
        return done.stdout

    assert "runs weft-gateway:1 already" in refused(image="weft-gateway:1")
    assert "the last share is 100 %, not 50" in refused("--steps", "10,50")
    assert "shares rise" in refused("--steps", "50,10,100")
    prometheus.stop()
    assert "Prometheus does not answer; nothing was changed" in refused()
    kube.of("deployments")["gateway"]["spec"]["strategy"] = {"type": "Recreate"}
    assert "two versions cannot run side by side" in refused()
    kube.refuse = lambda method, path: 403
    assert "the API server answers 403: not today" in refused()
    kube.refuse = None


def test_the_api_server_is_who_it_says_over_tls(tmp_path, prometheus):
    for name in ("server", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt"],
                       check=True, capture_output=True)
    one = FakeKube((tmp_path / "server.crt", tmp_path / "server.key"))
    try:
        one.add("services", {"metadata": {"name": "gateway"}, "spec": {"selector": dict(LABELS)}})
        one.add("deployments", deployment())
        for authority, code, says in (("other", 1, "certificate"), ("server", 0, "done")):
            (tmp_path / "config").write_text(
                f"kind: Config\ncurrent-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u, namespace: weft}}}}]\n"
                f"clusters: [{{name: c, cluster: {{server: '{one.url}', certificate-authority: {authority}.crt}}}}]\n"
                f"users: [{{name: u, user: {{token: test}}}}]\n")
            done = subprocess.run([BIN / "weftctl", "rollout", "start", "gateway", "--kubeconfig", tmp_path / "config", "--image", "weft-gateway:2",
                                   "--strategy", "rolling", "--bake", "0", "--poll", "0", "--prometheus", prometheus.url],
                                  capture_output=True, text=True, timeout=60)
            assert done.returncode == code and says in done.stdout + done.stderr, done.stderr
    finally:
        one.stop()


def test_without_prometheus_readiness_alone_decides(kube, prometheus, rollout):
    done = rollout("start", "--unmeasured")
    assert done.returncode == 0 and not prometheus.asked
    kube.behaviour["weft-gateway:3"] = "unready"
    slow = rollout("start", "--unmeasured", "--ready", 1, image="weft-gateway:3")
    assert slow.returncode == 1 and "its pods did not get ready within 1 s" in slow.stdout
    assert_clean(kube)


def test_too_few_requests_prove_nothing(kube, prometheus, rollout):
    prometheus.told[""]["requests"] = 5
    done = rollout("start")
    assert done.returncode == 1 and "5 requests are too few to judge by; 20 are needed" in done.stdout
    assert rollout("start", "--idle-ok").returncode == 0
    assert_clean(kube)


def test_the_bake_time_is_kept(kube, rollout):
    began = time.monotonic()
    done = rollout("start", "--strategy", "rolling", "--bake", 2)
    assert done.returncode == 0 and time.monotonic() - began >= 1  # whole seconds
