"""Renders helm/weft with the real helm, and reads what came out."""

import functools
import os
import subprocess
from pathlib import Path

import yaml

from mesh import ROOT

CHART = ROOT / "helm/weft"
VALUES = {path.stem: path for path in sorted((CHART / "values").glob("*.yaml"))}
NAMESPACE = "mesh"


def helm_binary() -> Path:
    home = Path(os.environ.get("WEFT_HOME", ROOT / ".weft"))
    return Path(os.environ.get("WEFT_HELM", home / "tools/helm"))


def helm(*args: str) -> subprocess.CompletedProcess:
    binary = helm_binary()
    assert binary.exists(), f"no helm at {binary}: run ./weft test, or deploy/tools/get_helm.sh DIR"
    return subprocess.run([binary, *args], capture_output=True, text=True, timeout=60)


@functools.cache
def render_text(values: tuple[str, ...], extra: str = "", release: str = "weft") -> str:
    """`values`: names of files in helm/weft/values; `extra`: YAML that goes over them."""
    args = ["template", release, str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.34.0"]
    for name in values:
        args += ["-f", str(VALUES[name])]
    binary = helm_binary()
    assert binary.exists(), f"no helm at {binary}: run ./weft test, or deploy/tools/get_helm.sh DIR"
    done = subprocess.run([binary, *args, "-f", "-"], input=extra or "{}", capture_output=True, text=True,
                          timeout=60)
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return done.stdout


class RenderError(Exception):
    pass


@functools.cache
def render(*values: str, extra: str = "", release: str = "weft") -> list[dict]:
    """The objects. They are shared between tests: do not change them."""
    return [doc for doc in yaml.load_all(render_text(values, extra, release), yaml.CSafeLoader) if doc]


def refusal(*values: str, extra: str = "") -> str:
    """What helm says to values that it must refuse."""
    try:
        render_text(values, extra)
    except RenderError as error:
        return str(error)
    raise AssertionError(f"helm takes {extra!r}")


def find(docs: list[dict], kind: str, name: str | None = None) -> dict:
    found = [d for d in docs if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def of_kind(docs: list[dict], *kinds: str) -> list[dict]:
    return [d for d in docs if d["kind"] in kinds]


MESH = ("gateway", "scheduler", "worker", "scanner", "collector")


def all_workloads(docs: list[dict]) -> list[dict]:
    return of_kind(docs, "Deployment", "StatefulSet")


def workloads(docs: list[dict]) -> list[dict]:
    """Weft's own services, without the data stores."""
    return [d for d in all_workloads(docs) if component(d) in MESH]


def component(doc: dict) -> str:
    return doc["metadata"]["labels"]["app.kubernetes.io/component"]


def pod_spec(workload: dict) -> dict:
    return workload["spec"]["template"]["spec"]


def container(workload: dict) -> dict:
    return pod_spec(workload)["containers"][0]


def config(docs: list[dict], name: str) -> dict:
    return yaml.load(find(docs, "ConfigMap", name)["data"]["weft.yaml"], yaml.CSafeLoader)


# What may be switched beside the values files; every one is tried over every file.
OVERLAYS = {
    "as it is": "",
    "mesh TLS by cert-manager":
        "tls: {mesh: {enabled: true, existingSecret: '', certManager: {enabled: true, issuer: {name: ca}}}}",
    "mesh TLS by a secret": "tls: {mesh: {enabled: true, existingSecret: t, certManager: {enabled: false}}}",
    "gateway API":
        "{ingress: {enabled: false}, gatewayApi: {enabled: true, className: envoy, host: a.example, "
        "grpcHost: g.example, tls: {clusterIssuer: x, implementation: envoy, options: {a.b/c: d}}}}",
    "traefik": "ingress: {enabled: true, className: traefik, host: a.example, tls: {controller: traefik}}",
    "ServiceMonitor": "monitoring: {monitor: ServiceMonitor, labels: {release: kps}, rules: {enabled: true}, "
                      "dashboards: {enabled: true}}",
    "PodMonitor": "monitoring: {monitor: PodMonitor, interval: 30s}",
    "KEDA": "workerDefaults: {autoscaling: {mode: keda, keda: {prometheusAddress: 'http://prometheus:9090'}}}",
    "no scanner, no collector": "{scanner: {enabled: false}, collector: {enabled: false}}",
    "vault": "keys: {existingSecret: k, externalSecret: {enabled: true, remoteKey: weft/keys, store: {name: ''}, "
             "secretStore: {create: true, provider: {vault: {server: 'https://v', auth: {kubernetes: "
             "{mountPath: kubernetes, role: weft}}}}}}}",
    "AWS": "keys: {pepperKey: pepper, externalSecret: {enabled: true, remoteKey: weft/keys, "
           "secretStore: {create: true, provider: {aws: {service: SecretsManager, region: eu-central-1}}}}}",
    "everything of a namespace": "{quota: {enabled: true}, limitRange: {enabled: true}, vpaInstalled: true, "
                                 "priorityClass: {create: true, name: serving}}",
    "one gateway with a volume": "{keys: {existingSecret: '', externalSecret: {enabled: false}}, gateway: "
                                 "{replicas: 1, autoscaling: {mode: none}, persistence: {enabled: true}}}",
    "workers with names": "{workerDefaults: {kind: StatefulSet}, spread: {antiAffinity: required, "
                          "whenUnsatisfiable: DoNotSchedule}}",
    "no policies": "{networkPolicy: {enabled: false}, serviceAccount: {create: false}, spread: {antiAffinity: none}}",
    "other names": "{nameOverride: x, clusterDomain: k8s.local, commonLabels: {team: a}, commonAnnotations: {b: c}}",
    "IPv6 and more config": "{network: {listenHost: '[::]'}, scheduler: {config: {queue_capacity: 1000000}}, "
                            "gateway: {config: {cors: {allowed_origins: ['https://a.example']}}}, "
                            "telemetry: {traces: {queue_spans: 1000000}}}",
    "trial stores": "{redis: {enabled: true}, postgresql: {enabled: true}}",
    "trial stores without volumes, pooled": "{redis: {enabled: true, persistence: {enabled: false}}, pgbouncer: {enabled: true}, "
        "postgresql: {enabled: true, persistence: {enabled: false}, tolerations: [{operator: Exists}]}}",
    "stores of others": "{database: {existingSecret: db, caSecret: db-ca}, redis: {existingSecret: r, urlKey: u, caSecret: r-ca}, "
        "externalSecrets: [{name: db, remoteKey: weft/db}], keys: {existingSecret: k, externalSecret: {enabled: true, "
        "remoteKey: weft/k, store: {name: s}}}, networkPolicy: {dataDestination: [{to: [{ipBlock: {cidr: 10.9.0.0/16}}], "
        "ports: [{port: 5432}, {port: 6379}]}]}}",
    "PgBouncer before others": "{database: {existingSecret: db}, pgbouncer: {enabled: true, existingSecret: p, "
        "upstream: {host: pg.example, port: 6432, database: w}}}",
    "CloudNativePG": "{cloudnativepg: {enabled: true, backup: {destinationPath: 's3://b/w'}}, pgbouncer: {enabled: true}}",
    "CloudNativePG recovered": "cloudnativepg: {enabled: true, instances: 1, backup: {destinationPath: 's3://b/w', "
        "endpointURL: 'https://s3.example', existingSecret: s, serverName: second}, "
        "recovery: {enabled: true, serverName: weft-postgres, targetTime: '2030-01-31T12:00:00Z'}}",
    "Argo canary": "gateway: {rollout: {engine: argo, prometheusAddress: 'http://p:9090'}}",
    "Argo blue-green": "gateway: {rollout: {engine: argo, mode: blueGreen, prometheusAddress: 'http://p:9090'}}",
    "Flagger canary": "{ingress: {enabled: true, host: a.example, className: nginx}, gateway: {rollout: {engine: flagger, "
        "prometheusAddress: 'http://p:9090'}}}",
    "Flagger blue-green": "gateway: {rollout: {engine: flagger, mode: blueGreen, prometheusAddress: 'http://p:9090', "
        "smokeWebhook: 'http://loadtester.test'}}",
    "an idle model": "workers: {idle: {kvBytes: 1GiB, model: {id: rare, path: m.gguf, volume: {emptyDir: {}}}, autoscaling: {mode: keda, "
        "scaleToZero: true, keda: {prometheusAddress: 'http://prometheus:9090'}}}}",
    "pulled models": "{workers: {pulled: {kvBytes: 1GiB, model: {path: m.gguf, pull: {source: 's3://models/q/m.gguf', sha256: [" + 64 * "a" + "], "
        "envSecret: s3, dockerConfigSecret: registry, size: 4Gi}}}}, networkPolicy: {modelDestination: [{ports: [{port: 443}]}]}}",
}
MATRIX = [(name, overlay) for name in VALUES for overlay in OVERLAYS]
