"""Alerts fire when they should and are quiet when they should be; routes, dashboards and metric names hold."""

import json
import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from chart import CHART, find, of_kind, render
from mesh import ROOT

TOOLS = Path(os.environ.get("WEFT_HOME", ROOT / ".weft")) / "tools"
ALERTS = CHART / "files/alerts.yaml"
DASHBOARDS = sorted((CHART / "files/dashboards").glob("*.json"))
ALERTMANAGER = ROOT / "deploy/prometheus/alertmanager.yaml"


def tool(name: str, *args) -> subprocess.CompletedProcess:
    assert (TOOLS / name).exists(), f"no {name} in {TOOLS}: run ./weft test, or deploy/tools/get_prometheus_tools.sh DIR"
    return subprocess.run([TOOLS / name, *map(str, args)], capture_output=True, text=True, timeout=60)


def rules() -> dict[str, dict]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


# Alert -> series while all is well; series that make it fire (one sample a minute); when it must be silent still and
# when it must fire, in minutes; the labels besides its own; the summary.
POD = 'job="weft",namespace="mesh",pod="p",instance=":1"'
WELL, BAD = "well", "bad"
CASES = {
    "HighErrorRate": (
        {'http_requests_total{job="weft",namespace="mesh",endpoint="/predict",status="200"}': ("0+96x30", "0+90x30"),
         'http_requests_total{job="weft",namespace="mesh",endpoint="/predict",status="503"}': ("0+4x30", "0+10x30")},
        3, 10, {"namespace": "mesh", "endpoint": "/predict"}, "10% of /predict fail"),
    "MostRequestsFail": (
        {'http_requests_total{job="weft",namespace="mesh",endpoint="/a",status="200"}': ("0+60x30", "0+40x30"),
         'http_requests_total{job="weft",namespace="mesh",endpoint="/b",status="500"}': ("0+40x30", "0+60x30")},
        0, 5, {"namespace": "mesh"}, "60% of all requests fail"),
    "LowSuccessRate": (
        {'weft_scheduler_requests_total{job="weft",namespace="mesh",model="m",status="stop"}': ("0+85x40", "0+60x40"),
         'weft_scheduler_requests_total{job="weft",namespace="mesh",model="m",status="INTERNAL"}': ("0+15x40", "0+40x40"),
         'weft_scheduler_requests_total{job="weft",namespace="mesh",model="m",status="cancelled"}': ("0+99x40", "0+0x40"),
         'weft_scheduler_requests_total{job="weft",namespace="mesh",model="m",status="INVALID_ARGUMENT"}': ("0+99x40", "0+0x40")},
        5, 25, {"namespace": "mesh", "model": "m"}, "Only 60% of the texts of m are finished"),
    "HighLatency": (
        {'http_request_duration_seconds_bucket{job="weft",namespace="mesh",endpoint="/v1/models",le="1"}': ("0+96x40", "0+0x40"),
         'http_request_duration_seconds_bucket{job="weft",namespace="mesh",endpoint="/v1/models",le="2.5"}': ("0+100x40", "0+100x40"),
         'http_request_duration_seconds_bucket{job="weft",namespace="mesh",endpoint="/v1/models",le="+Inf"}': ("0+100x40", "0+100x40"),
         'http_request_duration_seconds_bucket{job="weft",namespace="mesh",endpoint="/generate",le="1"}': ("0+0x40", "0+0x40"),
         'http_request_duration_seconds_bucket{job="weft",namespace="mesh",endpoint="/generate",le="+Inf"}': ("0+100x40", "0+0x40")},
        8, 20, {"namespace": "mesh", "endpoint": "/v1/models"}, "p95 of /v1/models is 2.425s"),
    "HighTimeToFirstToken": (
        {'weft_time_to_first_token_seconds_bucket{job="weft",namespace="mesh",model="m",le="1"}': ("0+99x40", "0+0x40"),
         'weft_time_to_first_token_seconds_bucket{job="weft",namespace="mesh",model="m",le="2.5"}': ("0+100x40", "0+100x40"),
         'weft_time_to_first_token_seconds_bucket{job="weft",namespace="mesh",model="m",le="+Inf"}': ("0+100x40", "0+100x40")},
        8, 20, {"namespace": "mesh", "model": "m"}, "p95 until the first token of m is 2.425s"),
    "SlowGeneration": (
        {'model_inference_duration_seconds_sum{job="weft",namespace="mesh",model_id="m"}': ("0+90x40", "0+120x40"),
         'model_inference_duration_seconds_count{job="weft",namespace="mesh",model_id="m"}': ("0+10x40", "0+10x40")},
        8, 20, {"namespace": "mesh", "model_id": "m"}, "A text of m takes 12s on average"),
    "PodDown": ({f"up{{{POD}}}": ("1x40", "0x40")}, 4, 6, None, "p:1 does not answer"),
    "RestartsAgainAndAgain": (
        {f"process_start_time_seconds{{{POD}}}": ("1 1 1 1 2 2 2 3x40", "1 2 3 4 5x40")}, 3, 6, None,
        "p:1 restarted 4 times in 15 minutes"),
    "NoScheduler": ({f"weft_gateway_schedulers_connected{{{POD}}}": ("1x40", "0x40")}, 0, 3, None,
                    "A gateway reaches no scheduler"),
    "NoWorkers": ({f"weft_scheduler_workers{{{POD}}}": ("1x40", "0x40")}, 0, 3, None, "A scheduler has no worker"),
    "ScannerAway": ({f"weft_gateway_scanner_connected{{{POD}}}": ("1x40", "0x40")}, 4, 7, None,
                    "A gateway reaches no scanner"),
    "RequestsQueueUp": (
        {f'weft_scheduler_requests_waiting{{{POD}}}': ("16x40", "17x40"),
         f'weft_scheduler_workers{{{POD}}}': ("2x40", "2x40")},
        4, 7, {"namespace": "mesh"}, "17 requests wait for workers"),
    "KeysAreGuessed": (
        {'weft_auth_failures_total{job="weft",namespace="mesh",pod="a",reason="bad_key"}': ("0+20x30", "0+20x30"),
         'weft_auth_failures_total{job="weft",namespace="mesh",pod="a",reason="bad_password"}': ("0+20x30", "0+20x30"),
         'weft_auth_failures_total{job="weft",namespace="mesh",pod="a",reason="throttled"}': ("0+0x30", "0+50x30"),
         'weft_auth_failures_total{job="weft",namespace="mesh",pod="a",reason="no_key"}': ("0+900x30", "0+900x30")},
        3, 15, {"namespace": "mesh"}, "90 requests a minute have credentials that are not good"),
    "CertificateEndsSoon": (
        {f"weft_tls_certificate_not_after_seconds{{{POD}}}": ("1000000x20", "432900x20")},
        3, 15, {"namespace": "mesh", "pod": "p", "instance": ":1"}, "The certificate of p:1 ends in 5d 0h 0m 0s"),
    "WorkersAreLost": (
        {'weft_scheduler_worker_losses_total{job="weft",namespace="mesh",reason="silent"}': ("0 0 0 1x40", "0+1x40"),
         'weft_scheduler_worker_losses_total{job="weft",namespace="mesh",reason="drained"}': ("0+9x40", "0+0x40")},
        2, 20, {"namespace": "mesh", "reason": "silent"}, "15 worker sessions ended in 15 minutes (silent)"),
    "SequencesLost": (
        {f"weft_gateway_sequences_lost_total{{{POD}}}": ("5x40", "0+1x40")}, 0, 10, {"namespace": "mesh"},
        "5 generations ended with their scheduler"),
    "StepsFail": (
        {f"weft_engine_failed_steps_total{{{POD}}}": ("7x40", "0+1x40")}, 4, 10,
        {"namespace": "mesh", "pod": "p", "instance": ":1"}, "Forward passes fail on p:1"),
    "KvCacheFull": ({f"weft_kv_cache_usage_perc{{{POD}}}": ("0.95x40", "0.96x40")}, 9, 12, None,
                    "The KV cache of p:1 is full"),
    "SpansAreRefused": (
        {f"weft_collector_spans_refused_total{{{POD}}}": ("7x40", "0+1x40")}, 4, 10, {"namespace": "mesh"},
        "Collectors refuse spans"),
    "SpanQueueFills": (
        {f"weft_collector_disk_queue_bytes{{{POD}}}": ("90x40", "95x40"),
         f"weft_collector_disk_queue_limit_bytes{{{POD}}}": ("100x40", "100x40")},
        9, 12, None, "The disk queue of p:1 is 95% full"),
    "LogLinesDropped": (
        {f"weft_log_lines_dropped_total{{{POD}}}": ("7x40", "0+1x40")}, 4, 10,
        {"namespace": "mesh", "pod": "p", "instance": ":1"}, "p:1 drops log lines"),
    "HighMemoryUsage": (
        {'container_memory_working_set_bytes{namespace="mesh",pod="p",container="weft-worker"}': ("90x40", "95x40"),
         'container_spec_memory_limit_bytes{namespace="mesh",pod="p",container="weft-worker"}': ("100x40", "100x40"),
         'container_memory_working_set_bytes{namespace="mesh",pod="q",container="other"}': ("99x40", "0x40"),
         'container_spec_memory_limit_bytes{namespace="mesh",pod="q",container="other"}': ("100x40", "100x40")},
        9, 12, {"namespace": "mesh", "pod": "p", "container": "weft-worker"}, "p uses 95% of its memory limit"),
    "CPUThrottling": (
        {'container_cpu_cfs_throttled_periods_total{namespace="mesh",pod="p",container="weft-worker"}': ("0+50x40", "0+60x40"),
         'container_cpu_cfs_periods_total{namespace="mesh",pod="p",container="weft-worker"}': ("0+100x40", "0+100x40")},
        9, 15, {"namespace": "mesh", "pod": "p", "container": "weft-worker"}, "p is held back in 60% of its CPU periods"),
    "DatabaseDown": ({'pg_up{instance="db:9187"}': ("1x40", "0x40")}, 0, 3, {"instance": "db:9187"},
                     "PostgreSQL at db:9187 does not answer"),
    "NodeNotReady": ({'kube_node_status_condition{condition="Ready",status="true",node="n"}': ("1x40", "0x40")}, 4, 7,
                     {"condition": "Ready", "status": "true", "node": "n"}, "Node n is not ready"),
    "DiskPressure": ({'kube_node_status_condition{condition="DiskPressure",status="true",node="n"}': ("0x40", "1x40")},
                     4, 7, {"condition": "DiskPressure", "status": "true", "node": "n"}, "Node n runs out of disk"),
    "PVCAlmostFull": (
        {'kubelet_volume_stats_used_bytes{namespace="mesh",persistentvolumeclaim="c"}': ("90x40", "91x40"),
         'kubelet_volume_stats_capacity_bytes{namespace="mesh",persistentvolumeclaim="c"}': ("100x40", "100x40")},
        9, 12, {"namespace": "mesh", "persistentvolumeclaim": "c"}, "c is 91% full"),
}
POD_LABELS = {"job": "weft", "namespace": "mesh", "pod": "p", "instance": ":1"}


def rendered(text: str, labels: dict, value: str) -> str:
    """Prometheus' template language as far as the descriptions use it."""
    text = re.sub(r"{{ \$labels\.(\w+) }}", lambda m: labels.get(m[1], ""), text)
    return re.sub(r"{{ \$value[^}]*}}", value, text)


def test_every_alert_has_a_case():
    assert set(CASES) == set(rules())


def test_alerts_fire_when_they_should_and_only_then(tmp_path):
    tests = []
    for name, (series, early, late, labels, summary) in CASES.items():
        rule = rules()[name]
        labels = {**(POD_LABELS if labels is None else labels)}
        value = (re.search(r"[\d.]+(%|s)?", summary) or [""])[0]
        fires = [{"exp_labels": {**labels, **rule["labels"]},
                  "exp_annotations": {"summary": summary,
                                      "description": rendered(rule["annotations"]["description"], labels, value)}}]
        for which, state in enumerate((WELL, BAD)):
            at = [{"eval_time": f"{late}m", "alertname": name, "exp_alerts": fires if state == BAD else []}]
            if state == BAD:
                at.insert(0, {"eval_time": f"{early}m", "alertname": name, "exp_alerts": []})
            tests.append({"name": f"{name}, {state}", "interval": "1m", "alert_rule_test": at,
                          "input_series": [{"series": s, "values": v[which]} for s, v in series.items()]})
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": tests}))
    done = tool("promtool", "test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_required_alerts_have_the_required_thresholds():
    wanted = {"HighErrorRate": ("0.05", "5m", "critical"), "HighLatency": ("1", "10m", "warning"),
              "PodDown": ("0", "5m", "critical"), "HighMemoryUsage": ("0.9", "10m", "warning"),
              "CPUThrottling": ("0.5", "10m", "warning"), "NodeNotReady": ("0", "5m", "critical"),
              "DiskPressure": ("1", "5m", "warning"), "PVCAlmostFull": ("0.9", "10m", "warning"),
              "DatabaseDown": ("0", "1m", "critical")}
    for name, (threshold, held, severity) in wanted.items():
        rule = rules()[name]
        assert re.search(rf"(>|==) {re.escape(threshold)}\s*$", rule["expr"]), name
        assert (rule["for"], rule["labels"]["severity"]) == (held, severity), name


def test_the_rules_reach_the_cluster_unchanged():
    rendered_rules = find(render("prod"), "PrometheusRule")["spec"]
    assert rendered_rules == yaml.safe_load(ALERTS.read_text())


def test_every_page_that_an_alert_names_is_there():
    for name, rule in rules().items():
        for path, anchor in re.findall(r"(docs/[\w/-]+\.md)#([\w-]+)", rule["annotations"]["description"]):
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.M)
            assert anchor in [h.lower().replace(" ", "-") for h in headings], (name, path, anchor)


# --- Alertmanager ---

def test_alertmanager_takes_its_configuration():
    done = tool("amtool", "check-config", ALERTMANAGER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("labels, receivers", [
    (["severity=critical"], "pagerduty,slack"),
    (["severity=warning"], "slack"),
    (["severity=info"], "slack"),
])
def test_alerts_go_to_the_right_people(labels, receivers):
    done = tool("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert done.stdout.strip() == receivers, done.stderr


def test_alertmanager_groups_and_waits_as_required():
    told = yaml.safe_load(ALERTMANAGER.read_text())
    route = told["route"]
    assert told["global"]["resolve_timeout"] == "5m"
    assert route["group_by"] == ["alertname", "cluster", "service"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("10s", "10s", "12h")
    assert "critical" in told["inhibit_rules"][0]["source_matchers"][0]
    assert "warning" in told["inhibit_rules"][0]["target_matchers"][0]


def test_prometheus_takes_its_configuration(tmp_path):
    told = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    assert told["global"]["scrape_interval"] == told["global"]["evaluation_interval"] == "15s"
    told["rule_files"] = [str(ALERTS)]
    file = tmp_path / "prometheus.yaml"
    file.write_text(yaml.safe_dump(told))
    done = tool("promtool", "check", "config", file)
    assert done.returncode == 0, done.stdout + done.stderr


# --- what the services really export ---

SUFFIXES = ("_bucket", "_sum", "_count")
FOREIGN = ("container_", "kube_", "kubelet_", "pg_")  # of the cluster's exporters
WORDS = {"time", "sum", "rate", "by", "le", "max", "min", "avg", "increase", "changes", "histogram_quantile", "topk", "clamp_min",
         "avg_over_time", "label_values", "or", "on", "ignoring", "vector", "up", "without", "group_left", "count"}


@pytest.fixture(scope="module")
def exported(mesh) -> set[str]:
    """Names of all metrics of a mesh that has answered requests, and of those that show with their first event."""
    with mesh.client() as client:
        model = client.get("/v1/models").json()["data"][0]["id"]
        for stream in (False, True):
            client.post("/v1/chat/completions", json={"model": model, "max_tokens": 8, "stream": stream,
                                                      "messages": [{"role": "user", "content": "Say hello."}]})
        client.post("/generate", json={"prompt": "def add(a, b):", "language": "python", "max_tokens": 4})
        client.post("/predict", json={"input": "x", "max_tokens": 2})
    names = set()
    for service in mesh.services():
        text = httpx.get(f"http://127.0.0.1:{mesh.admin_port(service)}/metrics").text
        names |= set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    assert len(names) > 50
    # A family with labels has no series before its first event (a failed sign-in, a lost worker): it is in the sources.
    for folder in ("services", "libs/spans", "libs/telemetry"):
        for source in (ROOT / folder).rglob("*.cc"):
            names |= set(re.findall(r'"(weft_[a-z_]+_total|prediction_errors_total)"', source.read_text()))
    return names


def metrics_in(expression: str) -> set[str]:
    expression = re.sub(r'"[^"]*"', '""', expression)
    expression = re.sub(r"\{[^}]*\}", "", expression)           # matchers
    expression = re.sub(r"\b(by|without|on|ignoring) *\([^)]*\)", "", expression)
    expression = re.sub(r"\[[^\]]*\]", "", expression)
    return {w for w in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", expression) if w not in WORDS}


def check_exported(expression: str, exported: set[str], where: str):
    for name in metrics_in(expression):
        if name.startswith(FOREIGN):
            continue
        base = next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s) and name.removesuffix(s) in exported), name)
        assert base in exported, f"{where}: no service exports {name}"


def test_alerts_ask_only_for_metrics_that_the_services_export(exported):
    for name, rule in rules().items():
        check_exported(rule["expr"], exported, name)


def test_autoscalers_ask_only_for_metrics_that_the_services_export(exported):
    adapter = yaml.safe_load((ROOT / "deploy/prometheus/adapter.yaml").read_text())["rules"]
    offered = set()
    for rule in adapter["custom"] + adapter["external"]:
        check_exported(rule["seriesQuery"], exported, rule["name"]["as"])
        offered.add(rule["name"]["as"])
    asked = set()
    for values in ("prod", "gpu-multi-node"):
        for scaler in of_kind(render(values), "HorizontalPodAutoscaler"):
            for metric in scaler["spec"]["metrics"]:
                body = metric.get("pods") or metric.get("external")
                asked |= {body["metric"]["name"]} if body else set()
    assert asked == offered
    keda = render("dev", extra="workerDefaults: {autoscaling: {mode: keda, keda: {prometheusAddress: 'http://p'}}}")
    for trigger in find(keda, "ScaledObject")["spec"]["triggers"]:
        if trigger["type"] == "prometheus":
            check_exported(trigger["metadata"]["query"], exported, "KEDA")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda p: p.stem)
def test_dashboards_show_only_what_the_services_export(path, exported):
    board = json.loads(path.read_text())
    queries = [t["expr"] for p in panels(board) for t in p.get("targets", [])]
    assert queries
    for query in queries:
        check_exported(query, exported, path.name)
        done = tool("promtool", "check", "rules", as_rules(query))
        assert done.returncode == 0, done.stdout + done.stderr


def as_rules(query: str) -> Path:
    import tempfile
    file = Path(tempfile.mkstemp(suffix=".yaml")[1])
    query = query.replace("$__rate_interval", "5m")
    file.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [{"record": "a", "expr": query}]}]}))
    return file


def panels(board: dict) -> list[dict]:
    return [inner for panel in board["panels"] for inner in [panel, *panel.get("panels", [])]]


def test_dashboards_have_what_grafana_needs():
    assert len(DASHBOARDS) >= 3
    uids = set()
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        assert board["uid"] and board["title"] and board["schemaVersion"] >= 39
        uids.add(board["uid"])
        ids = [p["id"] for p in panels(board)]
        assert len(ids) == len(set(ids))
        for panel in panels(board):
            grid = panel["gridPos"]
            assert 0 <= grid["x"] and grid["x"] + grid["w"] <= 24
            for target in panel.get("targets", []):
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert any(v["name"] == "datasource" for v in board["templating"]["list"])
    assert len(uids) == len(DASHBOARDS)


def test_the_dashboards_are_what_their_script_makes():
    import runpy
    made = runpy.run_path(str(ROOT / "deploy/grafana/make_dashboards.py"))["texts"]()
    assert made == {path.stem: path.read_text() for path in DASHBOARDS}, "run deploy/grafana/make_dashboards.py"
