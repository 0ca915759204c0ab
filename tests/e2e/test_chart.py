"""The Helm chart: what it renders is valid, safe and what the services take."""

import functools
import json
import re
import subprocess
import sys

import pytest
import yaml

from chart import (CHART, MATRIX, MESH, OVERLAYS, VALUES, all_workloads, component, config, container, find, helm, of_kind,
                   pod_spec, refusal, render, workloads)
from mesh import BIN, ROOT

sys.path.insert(0, str(ROOT / "helm"))
KUBERNETES = "1.34"
pytestmark = pytest.mark.timeout(900)  # the first test over the matrix renders it: 140 runs of helm


# --- every combination ---

@functools.cache
def schema_for(api_version: str, kind: str) -> dict:
    """A resource's JSON schema: Kubernetes' own, or a stub of the custom resource in tests/data/crds."""
    group, _, version = api_version.rpartition("/")
    stub = ROOT / "tests/data/crds" / f"{kind}_{group}_{version}.json".lower()
    return json.loads(stub.read_text()) if stub.exists() else {}


@functools.cache
def faults(text: str) -> tuple[str, ...]:
    """What is wrong with one resource, given as JSON."""
    import jsonschema
    import kubernetes_validate
    doc = json.loads(text)
    stub = schema_for(doc["apiVersion"], doc["kind"])
    if stub:
        return tuple(f"{e.json_path}: {e.message}" for e in jsonschema.Draft7Validator(stub).iter_errors(doc))
    try:
        kubernetes_validate.validate(doc, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return (f"{'.'.join(map(str, error.path))}: {error.message}",)
    return ()


@pytest.mark.parametrize("values", VALUES)
def test_every_combination_is_valid_kubernetes(values):
    for overlay, extra in OVERLAYS.items():
        docs = render(values, extra=extra)
        assert len(docs) > 10
        names = [(d["kind"], d["metadata"]["name"]) for d in docs]
        assert len(names) == len(set(names)), overlay
        for doc in docs:
            assert not faults(json.dumps(doc)), (values, overlay, doc["kind"], doc["metadata"]["name"])


@functools.cache
def effective(service: str, text: str) -> dict:
    """What the real binary makes of a weft.yaml."""
    done = subprocess.run([BIN / f"weft-{service}", "--config", "/dev/stdin", "--print-config"], input=text,
                          capture_output=True, text=True, timeout=20, env={})
    assert done.returncode == 0, f"{service}: {done.stderr}\n{text}"
    return yaml.load(done.stdout, yaml.CSafeLoader)


@pytest.mark.parametrize("values", VALUES)
def test_the_real_binaries_take_every_rendered_configuration(values):
    for overlay, extra in OVERLAYS.items():
        docs = render(values, extra=extra)
        for workload in workloads(docs):
            service = component(workload)
            text = find(docs, "ConfigMap", workload["metadata"]["name"])["data"]["weft.yaml"]
            told = effective(service, text)
            grace = pod_spec(workload)["terminationGracePeriodSeconds"]
            sleep = container(workload).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            drain = seconds(told[service]["drain_timeout"])
            # After draining: sessions end (2 s), spans are flushed (2 s), and time to spare.
            assert grace >= sleep + drain + 10, (values, overlay, service)
            ports = {p["name"]: p["containerPort"] for p in container(workload)["ports"]}
            assert told[service]["admin_listen"].endswith(f":{ports['admin']}")


def seconds(text: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)(ms|s|m|h)", text))


def test_every_component_dials_a_service_that_is_there():
    for values, overlay in MATRIX:
        docs = render(values, extra=OVERLAYS[overlay])
        domain = "k8s.local" if overlay == "other names" else "cluster.local"
        ports = {(s["metadata"]["name"], p["port"]) for s in of_kind(docs, "Service") for p in s["spec"]["ports"]}
        replicas = {w["metadata"]["name"]: w["spec"].get("replicas", 1) for w in workloads(docs)}
        targets = []
        for workload in workloads(docs):
            told = config(docs, workload["metadata"]["name"])
            targets.append(told["telemetry"].get("otlp_endpoint"))
            own = told[component(workload)]
            targets += own.get("scheduler", "").split(",") + [own.get("scanner")] + own.get("workers", [])
        targets = [t for t in targets if t]
        assert targets
        for target in targets:
            match = re.fullmatch(rf"dns:///([a-z0-9.-]+)\.mesh\.svc\.{domain}:(\d+)", target)
            assert match, target
            host, port = match[1], int(match[2])
            if "." in host:  # one pod of a StatefulSet
                pod, host = host.split(".")
                assert int(pod.removeprefix(host + "-")) < replicas[host]
            assert (host, port) in ports, (values, overlay, target)


# --- safety of the pods ---

def test_pods_are_restricted_and_mount_no_token():
    for values, overlay in MATRIX:
        docs = render(values, extra=OVERLAYS[overlay])
        pods = [(d["metadata"]["name"], pod_spec(d)) for d in all_workloads(docs)]
        pods += [(d["metadata"]["name"], d["spec"]) for d in of_kind(docs, "Pod")]
        assert len(pods) >= 4
        for name, spec in pods:
            assert spec["automountServiceAccountToken"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
            allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "image"}
            for volume in spec.get("volumes", []):
                assert set(volume) - {"name"} <= allowed, (name, volume)
            for one in spec["containers"] + spec.get("initContainers", []):
                context = one["securityContext"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["readOnlyRootFilesystem"] is True
                assert context["capabilities"] == {"drop": ["ALL"]}
                assert one["resources"]["requests"] and one["resources"]["limits"]
        assert not of_kind(docs, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_no_secret_is_in_the_chart():
    for values, overlay in MATRIX:
        # The trial stores' passwords are made when it is installed: test_chart_data.py.
        secrets = {d["metadata"]["name"] for d in of_kind(render(values, extra=OVERLAYS[overlay]), "Secret")}
        assert not secrets or overlay.startswith("trial"), (values, overlay)


def test_probes_ask_for_progress_and_readiness():
    for workload in workloads(render("prod")):
        one = container(workload)
        assert one["livenessProbe"]["httpGet"] == {"path": "/health", "port": "admin"}
        assert one["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "admin"}
        startup = one["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


def test_a_changed_configuration_rolls_the_pods_and_an_unchanged_one_does_not():
    def sums(extra):
        return {w["metadata"]["name"]: w["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
                for w in workloads(render("prod", extra=extra))}
    before, after = sums(""), sums("scanner: {config: {window_bytes: 1024}}")
    assert {name for name in before if before[name] != after[name]} == {"weft-scanner"}
    everywhere = sums("logLevel: debug")
    assert all(before[name] != everywhere[name] for name in before)


# --- requirement 004's numbers ---

def test_the_defaults_are_the_required_numbers():
    docs = render("prod")
    hpa = find(docs, "HorizontalPodAutoscaler", "weft-gateway")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (3, 50)
    resources = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"]
                 for m in hpa["metrics"] if m["type"] == "Resource"}
    assert resources == {"cpu": 70, "memory": 80}
    pods = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"]
            for m in hpa["metrics"] if m["type"] == "Pods"}
    assert pods == {"http_requests_per_second": "100"}
    assert hpa["behavior"]["scaleUp"] == {
        "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15},
                     {"type": "Pods", "value": 5, "periodSeconds": 15}]}
    assert hpa["behavior"]["scaleDown"] == {
        "stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}
    assert find(docs, "PodDisruptionBudget", "weft-gateway")["spec"]["minAvailable"] == 2
    gateway = find(docs, "Deployment", "weft-gateway")
    assert container(gateway)["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"},
                                               "limits": {"cpu": "2", "memory": "4Gi"}}
    assert pod_spec(gateway)["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"
    assert find(docs, "ResourceQuota")["spec"]["hard"] == {
        "requests.cpu": "100", "requests.memory": "200Gi", "limits.cpu": "200", "limits.memory": "400Gi",
        "requests.nvidia.com/gpu": "8", "persistentvolumeclaims": "20", "services.loadbalancers": "5"}
    limits = find(docs, "LimitRange")["spec"]["limits"][0]
    assert limits["max"] == {"cpu": "8", "memory": "32Gi"}
    assert limits["min"] == {"cpu": "100m", "memory": "128Mi"}
    assert limits["default"] == {"cpu": "1", "memory": "2Gi"}
    for vpa in of_kind(docs, "VerticalPodAutoscaler"):
        assert vpa["spec"]["updatePolicy"]["updateMode"] == "Off"


def quantity(text) -> float:
    match = re.fullmatch(r"([\d.]+)(m|[KMGT]i?)?", str(text))
    powers = {None: 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return float(match[1]) * powers[match[2]]


@pytest.mark.parametrize("values", VALUES)
def test_containers_fit_the_limit_range_and_the_quota_of_their_values(values):
    docs = render(values, extra="{quota: {enabled: true}, limitRange: {enabled: true}}")
    limits = find(docs, "LimitRange")["spec"]["limits"][0]
    hard = find(docs, "ResourceQuota")["spec"]["hard"]
    used = {}
    for workload in workloads(docs):
        resources = container(workload)["resources"]
        scaler = [h["spec"]["minReplicas"] for h in of_kind(docs, "HorizontalPodAutoscaler")
                  if h["metadata"]["name"] == workload["metadata"]["name"]]
        pods = scaler[0] if scaler else workload["spec"]["replicas"]
        for kind in ("requests", "limits"):
            for name, amount in resources[kind].items():
                used[f"{kind}.{name}"] = used.get(f"{kind}.{name}", 0) + pods * quantity(amount)
                if name in limits["max"]:
                    assert quantity(limits["min"][name]) <= quantity(amount) <= quantity(limits["max"][name]), name
    for key, amount in used.items():
        if key in hard:
            assert amount <= quantity(hard[key]), (key, amount)


# --- workers ---

def test_gpu_pods_ask_for_gpus_and_their_nodes():
    docs = render("gpu-multi-node")
    large, small = find(docs, "StatefulSet", "weft-worker-large"), find(docs, "Deployment", "weft-worker-small")
    for workload, resource, count in ((large, "nvidia.com/gpu", "2"), (small, "nvidia.com/mig-1g.10gb", "1")):
        assert container(workload)["resources"]["limits"][resource] == count
        assert container(workload)["resources"]["requests"][resource] == count
        assert pod_spec(workload)["runtimeClassName"] == "nvidia"
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod_spec(workload)["tolerations"]
    assert "weft-worker-cuda:" in container(large)["image"]
    assert small["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    gateway = find(docs, "Deployment", "weft-gateway")
    assert gateway["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    workers = config(docs, "weft-scheduler")["scheduler"]["workers"]
    assert len(workers) == 2


GROUP = """
workers:
  sharded:
    kind: LeaderWorkerSet
    group: {size: 3, tokenSecret: weft-ranks}
    replicas: 2
    autoscaling: {mode: none}
    config: {tensor_parallel: 3}
    model: {id: big, path: big.gguf, volume: {persistentVolumeClaim: {claimName: models, readOnly: true}}}
"""


@pytest.mark.parametrize("values", VALUES)
def test_a_model_over_several_pods_is_a_group_whose_leader_alone_is_asked(values):
    docs = render(values, extra=GROUP)
    group = find(docs, "LeaderWorkerSet")
    assert not faults(json.dumps(group))
    template = group["spec"]["leaderWorkerTemplate"]
    assert group["spec"]["replicas"] == 2 and template["size"] == 3
    pods = {side: template[f"{side}Template"] for side in ("leader", "worker")}
    for pod in pods.values():
        env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
        assert env["WEFT_WORKER_RANK"] == "$(LWS_WORKER_INDEX)" and env["WEFT_WORKER_RANKS"] == "$(LWS_GROUP_SIZE)"
        assert env["WEFT_WORKER_RENDEZVOUS_ADDRESS"] == "$(LWS_LEADER_ADDRESS):9300" and "WEFT_WORKER_RENDEZVOUS_TOKEN" in env
        # The set's own are put before these, so that they can be named.
        assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        account = pod["spec"]["serviceAccountName"]
        assert account == "default" or find(docs, "ServiceAccount", account)
    # What chooses the pool's pods chooses leaders, and not the service of the set's own name.
    service = find(docs, "Service", "weft-worker-sharded")
    found = {side for side, pod in pods.items() if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()}
    assert found == {"leader"} and group["metadata"]["name"] not in {s["metadata"]["name"] for s in of_kind(docs, "Service")}
    assert any("weft-worker-sharded." in target for target in config(docs, "weft-scheduler")["scheduler"]["workers"])
    # What the real worker makes of the second pod's environment.
    lws = {"$(LWS_WORKER_INDEX)": "1", "$(LWS_GROUP_SIZE)": "3", "$(LWS_LEADER_ADDRESS):9300": "weft-0.weft.mesh:9300", None: "0123456789abcdef"}
    env = {e["name"]: lws.get(e.get("value"), e.get("value")) for e in pods["worker"]["spec"]["containers"][0]["env"]}
    text = find(docs, "ConfigMap", "weft-worker-sharded")["data"]["weft.yaml"]
    done = subprocess.run([BIN / "weft-worker", "--config", "/dev/stdin", "--print-config"], input=text, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)["worker"]
    assert (told["tensor_parallel"], told["ranks"], told["rank"], told["rendezvous"]["address"]) == (3, 3, 1, "weft-0.weft.mesh:9300")
    policies = {d["metadata"]["name"]: d["spec"] for d in of_kind(docs, "NetworkPolicy")}
    if policies:  # ranks reach each other on every port, and nothing else does
        allowed = [rule for rule in policies["weft-worker-rank"]["ingress"] if rule["ports"] == [{"protocol": "TCP"}]]
        assert {r["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for r in allowed} == {"worker", "worker-rank"}


@pytest.mark.parametrize("change, said", [
    ({"group": {"size": 2, "tokenSecret": "a"}}, "workers.sharded.group.size: 2 pods, but config.tensor_parallel times config.pipeline_parallel is 3 ranks"),
    ({"group": {"size": 3, "tokenSecret": ""}}, "workers.sharded.group.tokenSecret"),
    ({"kind": "Deployment"}, "workers.sharded.group.size: a model over several pods needs kind: LeaderWorkerSet"),
])
def test_a_group_that_does_not_fit_is_refused(change, said):
    values = yaml.safe_load(GROUP)
    values["workers"]["sharded"] |= change
    assert said in refusal("dev", extra=yaml.safe_dump(values))


def test_an_autoscaled_workload_names_no_replicas():
    for values, overlay in MATRIX:
        docs = render(values, extra=OVERLAYS[overlay])
        scaled = {(d["spec"]["scaleTargetRef"]["kind"], d["spec"]["scaleTargetRef"]["name"])
                  for d in of_kind(docs, "HorizontalPodAutoscaler", "ScaledObject")}
        for workload in workloads(docs):
            is_scaled = (workload["kind"], workload["metadata"]["name"]) in scaled
            if "workloadRef" in find_rollout(docs, workload["metadata"]["name"]):  # makes the pods in its place
                assert workload["spec"]["replicas"] == 0
                continue
            assert ("replicas" in workload["spec"]) != is_scaled, (values, overlay, workload["metadata"]["name"])
        makers = {(w["kind"], w["metadata"]["name"]) for w in [*workloads(docs), *of_kind(docs, "Rollout")]}
        assert scaled <= makers


def find_rollout(docs, name):
    return next((d["spec"] for d in of_kind(docs, "Rollout") if d["metadata"]["name"] == name), {})


def test_selectors_find_exactly_their_own_pods():
    docs = render("gpu-multi-node", extra=OVERLAYS["everything of a namespace"])
    pods = {w["metadata"]["name"]: w["spec"]["template"]["metadata"]["labels"] for w in workloads(docs)}
    for doc in of_kind(docs, "Deployment", "StatefulSet", "Service", "PodDisruptionBudget"):
        selector = doc["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        found = {name for name, labels in pods.items() if selector.items() <= labels.items()}
        assert found == {doc["metadata"]["name"].removesuffix("-headless")}, doc["kind"]


# --- wrong values ---

@pytest.mark.parametrize("extra, said", [
    ("gatway: {replicas: 1}", "'gatway' not allowed"),
    ("gateway: {replicas: two}", "/gateway/replicas"),
    ("gateway: {resources: {limits: {memory: lots}}}", "/gateway/resources/limits/memory"),
    ("workers: {default: {threds: 3}}", "'threds' not allowed"),
    ("workers: {Default: {}}", "Default"),
    ("workers: {default: {kvBytes: 1 GB}}", "/workers/default/kvBytes"),
    ("workers: {default: {gpu: {count: -1}}}", "/workers/default/gpu/count"),
    ("image: {digests: {weft-gateway: latest}}", "/image/digests"),
    ("logLevel: loud", "/logLevel"),
    ("gateway: {autoscaling: {cpu: 2000}}", "/gateway/autoscaling/cpu"),
    ("networkPolicy: {enabled: 'yes'}", "/networkPolicy/enabled"),
    ("workers: null", "workers: give at least one pool"),
    ("workers: {default: {model: {path: ''}}}", "workers.default.model.path"),
    ("workers: {more: {model: {path: a.gguf}}}", "workers.more.model.volume"),
    ("ingress: {enabled: true, host: ''}", "ingress.host"),
    ("tls: {mesh: {enabled: true, certManager: {enabled: false}}}", "tls.mesh.existingSecret"),
    ("gateway: {replicas: 2, persistence: {enabled: true}}", "gateway.persistence"),
    ("{gateway: {replicas: 2}, keys: {existingSecret: ''}}", "keys.existingSecret"),
    ("keys: {externalSecret: {enabled: true, remoteKey: a}}", "keys.externalSecret.store.name"),
    ("gateway: {vpa: {mode: Recreate}, autoscaling: {mode: hpa}}", "gateway.vpa.mode"),
    ("workerDefaults: {autoscaling: {mode: keda}}", "keda.prometheusAddress"),
    ("priorityClass: {create: true}", "priorityClass.name"),
])
def test_wrong_values_are_refused_with_their_path(extra, said):
    assert said in refusal("dev", extra=extra)


def test_defaults_alone_say_what_is_missing():
    assert "workers: give at least one pool" in refusal()


def test_helm_lints_every_values_file():
    for path in VALUES.values():
        done = helm("lint", "--strict", str(CHART), "-f", str(path))
        assert done.returncode == 0, done.stdout + done.stderr


# --- what a person reads ---

def test_the_readme_is_made_from_the_values():
    import make_readme
    assert (CHART / "README.md").read_text() == make_readme.readme(), "run helm/make_readme.py"


def test_every_value_is_in_the_schema_and_described():
    import make_readme
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    missing = [row.key for row in make_readme.rows(values) if not row.description]
    assert not missing


def test_notes_name_the_next_commands():
    done = helm("install", "weft", str(CHART), "--dry-run=client", "--namespace", "mesh", "-f", str(VALUES["dev"]))
    assert done.returncode == 0, done.stderr
    notes = done.stdout[done.stdout.index("NOTES:"):]
    assert "weftctl keys generate" in notes
    assert "kubectl -n mesh create secret generic weft-keys --from-file=keys.json" in notes
    assert "helm -n mesh test weft" in notes


def test_helm_test_asks_the_gateway_through_its_service():
    pod = find(render("dev"), "Pod", "weft-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["args"] == ["--healthcheck=http://weft-gateway.mesh.svc.cluster.local:9100/ready"]
