"""The staged deployment: what it asks Prometheus is evaluated by promtool, and its steps are walked with a helm that only notes what it
is told, because there is no cluster. What a real cluster does with it is not shown here."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from chart import helm_binary
from mesh import ROOT

CI = ROOT / "deploy/ci"


def queries() -> dict[str, str]:
    done = subprocess.run([sys.executable, CI / "judge.py", "--pods", "weft-canary-gateway-.*", "--queries"],
                          capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def promtool() -> Path:
    found = Path(os.environ.get("WEFT_HOME", ROOT / ".weft")) / "tools/promtool"
    assert found.exists(), f"no promtool at {found}: run ./weft test, or deploy/tools/get_prometheus_tools.sh DIR"
    return found


def test_the_questions_give_the_canarys_share_of_errors_and_its_latency(tmp_path):
    """In promtool's own evaluation: 10 of 100 of the canary's answers are 5xx; the stable gateways' do not count."""
    asked = queries()
    rules = {"groups": [{"name": "judge", "rules": [{"record": f"judge:{n}", "expr": q} for n, q in asked.items()]}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))

    def series(pod, status, step):
        return {"series": f'http_requests_total{{pod="{pod}",status="{status}",endpoint="/v1/chat/completions"}}', "values": f"0+{step}x20"}

    buckets = [{"series": f'http_request_duration_seconds_bucket{{pod="weft-canary-gateway-a",le="{le}"}}', "values": f"0+{n}x20"}
               for le, n in (("0.5", 90), ("1", 95), ("2.5", 100), ("+Inf", 100))]
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [{
        "interval": "15s",
        "input_series": [series("weft-canary-gateway-a", 200, 90), series("weft-canary-gateway-a", 503, 10),
                         series("weft-gateway-b", 500, 1000), *buckets],
        "promql_expr_test": [
            {"expr": "round(judge:requests)", "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": 800}]},
            {"expr": "judge:errors", "eval_time": "5m", "exp_samples": [{"labels": 'judge:errors', "value": 0.1}]},
            {"expr": "judge:p95", "eval_time": "5m", "exp_samples": [{"labels": 'judge:p95', "value": 1}]}]}, {
        "interval": "15s",  # no errors at all is 0, and no requests at all is nothing
        "input_series": [series("weft-canary-gateway-a", 200, 10)],
        "promql_expr_test": [{"expr": "judge:errors", "eval_time": "5m", "exp_samples": [{"labels": 'judge:errors', "value": 0}]}]}, {
        "interval": "15s",
        "input_series": [series("weft-gateway-b", 200, 10)],
        "promql_expr_test": [{"expr": "judge:errors", "eval_time": "5m", "exp_samples": []}]}]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    done = subprocess.run([promtool(), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def prometheus():
    """Answers the three questions from `values`, a list of (requests, errors, p95): one a look, the last one for ever."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            look = server.values[min(server.asked // 3, len(server.values) - 1)]
            value = look[server.asked % 3]
            server.asked += 1
            result = [] if value is None else [{"metric": {}, "value": [0, str(value)]}]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.values = 0, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize("values, good, told", [
    ([(100, 0, 0.2)], True, ""),
    ([(100, 0.05, 10)], True, ""),
    ([(100, 0, 0.2), (100, 0.06, 0.2)], False, "errors 0.06 is above 0.05"),
    ([(100, 0, 11)], False, "p95 11 is above 10"),
    ([(0, None, None)], False, "0 requests are too few"),
    ([(5, 1, 0.2)], False, "5 requests are too few"),
    ([(100, 0, "NaN")], True, ""),
])
def test_a_canary_is_judged(prometheus, values, good, told):
    prometheus.values = values
    done = subprocess.run([sys.executable, CI / "judge.py", address(prometheus), "--pods", "x", "--bake", "0.2", "--interval", "0.05"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == (0 if good else 1) and told in done.stderr, done.stderr


def test_a_prometheus_that_is_away_is_said():
    done = subprocess.run([sys.executable, CI / "judge.py", "http://127.0.0.1:1", "--pods", "x", "--patience", "0"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "does not answer" in done.stderr


@pytest.fixture
def helm(tmp_path):
    """A helm that writes its arguments, a line a call, and fails calls that hold `fails`."""
    notes, program = tmp_path / "notes", tmp_path / "helm"
    notes.touch()
    program.write_text('#!/usr/bin/env bash\n[[ "$*" == "upgrade --help" ]] && { echo --rollback-on-failure; exit 0; }\n'
                       f'echo "$*" >>"{notes}"\n[[ -n ${{HELM_FAILS:-}} && "$*" == *"$HELM_FAILS"* ]] && exit 1\nexit 0\n')
    program.chmod(0o755)

    def calls() -> list[str]:
        told = []
        for line in notes.read_text().splitlines():
            words = line.split()
            share = line.partition("canary-weight=")[2].split(" ")[0]
            told.append(" ".join(words[:3 if words[0] == "upgrade" else 2]) + (f" {share}" if share else ""))
        return told

    return {**os.environ, "WEFT_HELM": str(program), "BAKE": "0", "JUDGE_OPTIONS": "--interval 0.01"}, calls


STEPS = ["upgrade --install weft-canary 10", "upgrade --install weft-canary 25", "upgrade --install weft-canary 50"]
END = "uninstall weft-canary"


@pytest.mark.parametrize("values, fails, calls", [
    ([(100, 0, 1)], "", [*STEPS, "upgrade --install weft", END]),
    ([(100, 0, 1), (100, 0.5, 1)], "", [*STEPS[:2], END]),
    ([(100, 0, 1)] * 3 + [(100, 0.5, 1)], "", [*STEPS, "upgrade --install weft", "rollback weft", END]),
    ([(100, 0, 1)], "canary-weight=25", [*STEPS[:2], END]),
])
def test_a_canary_grows_or_is_taken_back(prometheus, helm, values, fails, calls):
    environment, told = helm
    prometheus.values = values
    done = subprocess.run([CI / "canary.sh", "1.2.3", address(prometheus)], capture_output=True, text=True, timeout=120,
                          env={**environment, "HELM_FAILS": fails})
    assert told() == calls, done.stdout + done.stderr
    assert (done.returncode == 0) == (calls == [*STEPS, "upgrade --install weft", END])


def test_a_deployment_waits_as_long_as_its_environment_says_and_hides_the_kubeconfig(helm, tmp_path):
    environment, _ = helm
    for name, timeout in (("staging", "5m"), ("production", "10m")):
        done = subprocess.run([CI / "deploy_chart.sh", name, "1.2.3"], capture_output=True, text=True, timeout=60,
                              env={**environment, "KUBECONFIG_DATA": "a: secret", "WEFT_VALUES": "image: {registry: r.example}"})
        assert done.returncode == 0 and "secret" not in done.stdout + done.stderr
        line = (tmp_path / "notes").read_text().splitlines()[-1]
        assert f"--timeout {timeout}" in line and "--rollback-on-failure" in line and "image.tag=1.2.3" in line
        assert line.index("prod.yaml") < line.rindex("--values")
    assert subprocess.run([CI / "deploy_chart.sh", "moon", "1.2.3"], capture_output=True, timeout=60, env=environment).returncode == 2


def rendered(release: str, *options: str) -> list[dict]:
    done = subprocess.run([helm_binary(), "template", release, ROOT / "helm/weft", "--values", ROOT / "helm/weft/values/prod.yaml",
                           "--kube-version", "1.34.0", "--set-string", "image.tag=1.2.3", *map(str, options)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def test_the_canary_is_a_release_of_its_own():
    """The real helm renders both: ingress-nginx's weight, names of its own for everything, the same Secret of keys."""
    stable = rendered("weft")
    canary = rendered("weft-canary", "--values", CI / "canary_values.yaml",
                      "--set-string", r"ingress.annotations.nginx\.ingress\.kubernetes\.io/canary=true",
                      "--set-string", r"ingress.annotations.nginx\.ingress\.kubernetes\.io/canary-weight=10")
    names = [{(d["kind"], d["metadata"]["name"]) for d in docs} for docs in (stable, canary)]
    assert not names[0] & names[1]
    ingress = next(d for d in canary if d["kind"] == "Ingress")
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "10"
    hosts = [next(d for d in docs if d["kind"] == "Ingress")["spec"]["rules"][0]["host"] for docs in (stable, canary)]
    assert hosts[0] == hosts[1]
    pods = [next(d for d in docs if d["kind"] == "Deployment" and "-gateway" in d["metadata"]["name"])["spec"]["template"]["spec"]
            for docs in (stable, canary)]
    assert pods[1]["containers"][0]["image"].endswith(":1.2.3")
    assert pods[0]["priorityClassName"] == pods[1]["priorityClassName"]
    secrets = [{v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v} for pod in pods]
    assert "weft-keys" in secrets[0] & secrets[1]
