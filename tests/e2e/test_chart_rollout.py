"""The chart's rollouts by Argo Rollouts and Flagger, and models that init containers fetch."""

import re

import pytest

from chart import OVERLAYS, config, container, find, of_kind, pod_spec, refusal, render


def rollout(extra: str = "", overlay="Argo canary") -> dict:
    return find(render("prod", extra=extra or OVERLAYS[overlay]), "Rollout", "weft-gateway")["spec"]


def test_argo_gives_10_25_50_and_all_of_the_load_for_300_seconds_each():
    canary = rollout()["strategy"]["canary"]
    assert canary["steps"] == [step for share in (10, 25, 50, 100)
                               for step in ({"setWeight": share}, {"pause": {"duration": "300s"}})]
    assert canary["trafficRouting"] == {"nginx": {"stableIngress": "weft"}}
    assert canary["analysis"]["startingStep"] == 1  # from the first share on, all the time
    without = find(render("dev", extra=OVERLAYS["Argo canary"]), "Rollout")["spec"]["strategy"]["canary"]
    assert "trafficRouting" not in without


def test_argo_goes_back_above_5_percent_of_errors_of_the_new_pods_alone():
    metric = find(render("prod", extra=OVERLAYS["Argo canary"]), "AnalysisTemplate", "weft-gateway-errors")["spec"]["metrics"][0]
    assert metric["failureLimit"] == 0 and metric["successCondition"].endswith("result[0] <= 0.05")
    query = metric["provider"]["prometheus"]["query"]
    assert 'pod=~"weft-gateway-{{args.hash}}-.+"' in query and 'status=~"5.."' in query
    assert {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}} in rollout()["strategy"]["canary"]["analysis"]["args"]


def test_blue_green_is_smoke_tested_before_the_selector_moves_and_watched_after_it():
    docs = render("prod", extra=OVERLAYS["Argo blue-green"])
    blue = find(docs, "Rollout")["spec"]["strategy"]["blueGreen"]
    assert (blue["activeService"], blue["previewService"]) == ("weft-gateway", "weft-gateway-next")
    job = find(docs, "AnalysisTemplate", blue["prePromotionAnalysis"]["templates"][0]["templateName"])["spec"]["metrics"][0]
    pod = job["provider"]["job"]["spec"]["template"]
    assert [c["args"] for c in pod["spec"]["containers"]] == [
        ["--healthcheck=http://weft-gateway-next.mesh.svc.cluster.local:9100/ready"],
        ["--healthcheck=http://weft-gateway-next.mesh.svc.cluster.local:80/health"]]
    # The network policies know it as the chart's own test.
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "test"
    after = find(docs, "AnalysisTemplate", blue["postPromotionAnalysis"]["templates"][0]["templateName"])["spec"]["metrics"][0]
    assert after["count"] * 30 == 300
    assert blue["scaleDownDelaySeconds"] > 300  # the old one is there as long as it may be needed


def test_argo_makes_the_pods_in_the_deployments_place():
    docs = render("prod", extra=OVERLAYS["Argo canary"])
    assert find(docs, "Deployment", "weft-gateway")["spec"]["replicas"] == 0
    assert find(docs, "Rollout")["spec"]["workloadRef"]["name"] == "weft-gateway"
    target = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "weft-gateway"}
    assert find(docs, "HorizontalPodAutoscaler", "weft-gateway")["spec"]["scaleTargetRef"] == target
    assert find(docs, "VerticalPodAutoscaler", "weft-gateway")["spec"]["targetRef"] == target
    assert "replicas" not in find(docs, "Rollout")["spec"]


def test_flagger_shares_out_and_judges_alike():
    docs = render("prod", extra=OVERLAYS["Flagger canary"])
    canary = find(docs, "Canary")["spec"]
    assert canary["provider"] == "nginx"
    assert canary["analysis"]["stepWeights"] == [10, 25, 50, 100]
    assert (canary["analysis"]["interval"], canary["analysis"]["threshold"]) == ("300s", 1)
    assert canary["analysis"]["metrics"][0]["thresholdRange"] == {"max": 0.05}
    query = find(docs, "MetricTemplate")["spec"]["query"]
    pods = re.search(r'pod=~"\{\{ target \}\}(.*?)"', query)[1]
    assert re.fullmatch("weft-gateway" + pods, "weft-gateway-6d4cf56db6-x2z7k")
    assert not re.fullmatch("weft-gateway" + pods, "weft-gateway-primary-6d4cf56db6-x2z7k")
    blue = find(render("prod", extra=OVERLAYS["Flagger blue-green"]), "Canary")["spec"]
    assert blue["provider"] == "kubernetes" and blue["analysis"]["iterations"] == 1
    assert blue["analysis"]["webhooks"][0]["type"] == "pre-rollout"


def test_flagger_owns_the_service_and_tells_versions_apart_by_a_label_no_policy_asks_for():
    docs = render("prod", extra=OVERLAYS["Flagger canary"])
    assert "weft-gateway" not in [s["metadata"]["name"] for s in of_kind(docs, "Service")]
    assert find(docs, "Canary")["spec"]["service"]["name"] == "weft-gateway"
    deployment = find(docs, "Deployment", "weft-gateway")
    assert deployment["spec"]["selector"]["matchLabels"]["app"] == "weft-gateway"
    assert deployment["spec"]["template"]["metadata"]["labels"]["app"] == "weft-gateway"
    for policy in of_kind(docs, "NetworkPolicy", "PodDisruptionBudget"):
        selector = policy["spec"].get("podSelector") or policy["spec"]["selector"]
        assert "app" not in selector.get("matchLabels", {})


def test_without_an_engine_nothing_of_it_is_there():
    docs = render("prod")
    assert not of_kind(docs, "Rollout", "AnalysisTemplate", "Canary", "MetricTemplate")
    assert "app" not in find(docs, "Deployment", "weft-gateway")["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("extra, said", [
    ("gateway: {rollout: {engine: argo}}", "gateway.rollout.prometheusAddress"),
    ("gateway: {rollout: {engine: flagger, prometheusAddress: a}}", "set ingress.enabled, or gateway.rollout.mode: blueGreen"),
    ("gateway: {rollout: {engine: spinnaker}}", "/gateway/rollout/engine"),
    ("gateway: {rollout: {steps: [10, 100]}}", "/gateway/rollout/steps/1"),
    ("{keys: {existingSecret: ''}, gateway: {persistence: {enabled: true}, rollout: {engine: argo, prometheusAddress: a}}}",
     "two versions cannot share the volume"),
    ("workers: {default: {autoscaling: {scaleToZero: true}}}", "only KEDA scales to zero"),
    ("workers: {default: {autoscaling: {mode: keda, scaleToZero: true, keda: {prometheusAddress: a}}}}", "let one stay"),
    ("workers: {more: {model: {path: a, volume: {emptyDir: {}}}, autoscaling: {mode: keda, scaleToZero: true, keda: {prometheusAddress: a}}}}",
     "workers.more.model.id"),
    ("workers: {default: {gpu: {count: 2, resource: nvidia.com/mig-1g.10gb}, config: {tensor_parallel: 2}}}", "slices cannot talk"),
    ("workers: {default: {gpu: {count: 2, resource: gpus}}}", "/workers/default/gpu/resource"),
    ("workers: {default: {model: {pull: {source: 'ftp://a'}}}}", "/workers/default/model/pull/source"),
    ("workers: {default: {model: {pull: {sha256: [12]}}}}", "/workers/default/model/pull/sha256/0"),
    ("workers: {default: {model: {pull: {source: 'https://a/m.gguf'}}}}", "model.pull writes to it, but it is read-only"),
])
def test_wrong_values_are_refused_with_their_path(extra, said):
    assert said in refusal("dev", extra=extra)


# --- idle models and GPUs ---

def test_a_pool_nobody_asks_for_has_no_pods_and_a_request_starts_it():
    docs = render("prod", extra=OVERLAYS["an idle model"])
    scaled = find(docs, "ScaledObject", "weft-worker-idle")["spec"]
    assert scaled["minReplicaCount"] == 0 and scaled["maxReplicaCount"] > 0
    queries = [t["metadata"]["query"] for t in scaled["triggers"] if t["type"] == "prometheus"]
    # The error's code is the gateway's: tests/integration/gateway.
    assert any('model_id="rare",error_type="model_starting"' in q for q in queries)
    assert any('weft_tokens_total{namespace="mesh",model_name="rare"}' in q for q in queries)
    assert config(docs, "weft-gateway")["gateway"]["idle_models"] == ["rare"]
    assert "idle_models" not in config(render("prod"), "weft-gateway")["gateway"]


def test_gpu_pods_have_shared_memory_for_their_ranks():
    for workload in ("large", "small"):
        docs = render("gpu-multi-node")
        spec = next(pod_spec(d) for d in of_kind(docs, "Deployment", "StatefulSet") if d["metadata"]["name"] == f"weft-worker-{workload}")
        shm = next(v for v in spec["volumes"] if v["name"] == "shm")
        assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert not any(v["name"] == "shm" for v in pod_spec(find(render("prod"), "Deployment", "weft-worker-default"))["volumes"])


# --- models ---

def test_an_init_container_fetches_the_model_that_the_worker_reads():
    docs = render("prod", extra=OVERLAYS["pulled models"])
    workload = find(docs, "Deployment", "weft-worker-pulled")
    spec = pod_spec(workload)
    pull = spec["initContainers"][0]
    assert pull["args"] == ["pull", "s3://models/q/m.gguf", "/models", f"--sha256={64 * 'a'}"]
    assert pull["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert {"name": "models", "mountPath": "/models"} in pull["volumeMounts"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container(workload)["volumeMounts"]
    volumes = {v["name"]: v for v in spec["volumes"]}
    assert volumes["models"] == {"name": "models", "emptyDir": {"sizeLimit": "4Gi"}}
    assert volumes["docker"]["secret"]["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]
    assert config(docs, "weft-worker-pulled")["worker"]["model"] == "/models/m.gguf"
    assert "initContainers" not in pod_spec(find(docs, "Deployment", "weft-worker-default"))
    egress = next(p for p in of_kind(docs, "NetworkPolicy") if p["metadata"]["name"] == "weft-worker")["spec"]["egress"]
    assert {"ports": [{"port": 443}]} in egress
