"""The chart's NetworkPolicies allow the mesh's edges and nothing else."""

import re

import pytest

from chart import MATRIX, OVERLAYS, all_workloads, component, config, container, of_kind, render, workloads

pytestmark = pytest.mark.timeout(900)  # as in test_chart.py

PODS = ("gateway", "scheduler", "worker", "scanner", "collector", "test", "redis", "postgresql", "pgbouncer")


def matches(selector: dict, labels: dict) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def pods_of(docs: list[dict]) -> dict[str, dict]:
    pods = {component(w): w["spec"]["template"]["metadata"]["labels"] for w in all_workloads(docs)}
    pods["test"] = next(d for d in docs if d["kind"] == "Pod")["metadata"]["labels"]
    return pods


def allowed(docs: list[dict]) -> set[tuple[str, str, int]]:
    """Who can reach whom on which port: egress of the one and ingress of the other must agree."""
    pods = pods_of(docs)
    policies = of_kind(docs, "NetworkPolicy")

    def one_way(direction: str, peers: str) -> set:
        edges = set()
        for policy in policies:
            selected = [c for c, labels in pods.items() if matches(policy["spec"]["podSelector"], labels)]
            for rule in policy["spec"].get(direction) or []:
                ports = [p["port"] for p in rule["ports"]]
                reached = set()
                if peers not in rule:
                    reached = set(pods)
                for peer in rule.get(peers, []):
                    if "namespaceSelector" not in peer and "podSelector" in peer:
                        reached |= {c for c, labels in pods.items() if matches(peer["podSelector"], labels)}
                for own in selected:
                    edges |= {(own, other, port) for other in reached for port in ports}
        return edges

    egress = one_way("egress", "to")
    ingress = {(other, own, port) for own, other, port in one_way("ingress", "from")}
    return egress & ingress


def needed(docs: list[dict]) -> set[tuple[str, str, int]]:
    """The edges that the rendered configurations dial."""
    edges = {("test", "gateway", 8080), ("test", "gateway", 9100)}
    for workload in workloads(docs):
        own = component(workload)
        told = config(docs, workload["metadata"]["name"])
        targets = told[own].get("scheduler", "").split(",") + [told[own].get("scanner")]
        targets += told[own].get("workers", []) + [told["telemetry"].get("otlp_endpoint")]
        for target in filter(None, targets):
            name, port = re.fullmatch(r"dns:///([^:]+):(\d+)", target).groups()
            # [pod.]RELEASE-COMPONENT[-POOL].NAMESPACE…
            other = next(c for c in PODS if f"-{c}" in name)
            edges.add((own, other, int(port)))
    # The stores' URLs are in Secrets; only those of the release are here to be read.
    for secret in of_kind(docs, "Secret"):
        if url := secret["stringData"].get("url"):
            host, port = re.fullmatch(r"[a-z]+://[^@]*@([^/:]+):(\d+)/.*", url).groups()
            edges.add(("gateway", next(c for c in PODS if host.split(".")[0].endswith(f"-{c}")), int(port)))
    if "pgbouncer" in {component(w) for w in all_workloads(docs)}:
        edges.add(("gateway", "pgbouncer", 5432))
    for one in of_kind(docs, "ConfigMap"):
        for _, port in re.findall(r"host=\S+-postgresql\.(\S+) port=(\d+)", one["data"].get("pgbouncer.ini", "")):
            edges.add(("pgbouncer", "postgresql", int(port)))
    return edges


def test_the_policies_are_exactly_the_edges_that_the_services_dial():
    for values, overlay in MATRIX:
        if overlay == "no policies":
            continue
        docs = render(values, extra=OVERLAYS[overlay])
        assert allowed(docs) == needed(docs), (values, overlay)


def test_everything_else_is_denied():
    docs = render("prod")
    deny = next(p for p in of_kind(docs, "NetworkPolicy") if p["metadata"]["name"] == "weft-deny")
    assert set(deny["spec"]) == {"podSelector", "policyTypes"}
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all(matches(deny["spec"]["podSelector"], labels) for labels in pods_of(docs).values())


def test_dns_goes_over_udp_and_tcp_to_the_clusters_own():
    for policy in of_kind(render("prod"), "NetworkPolicy"):
        if policy["metadata"]["name"] == "weft-deny":
            continue
        dns = policy["spec"]["egress"][0]
        assert {(p["protocol"], p["port"]) for p in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
        assert dns["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                              "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]


def test_only_prometheus_reads_metrics_and_only_named_clients_reach_the_gateway():
    docs = render("prod")
    admin = {component(w): next(p["containerPort"] for p in container(w)["ports"] if p["name"] == "admin")
             for w in workloads(docs)}
    for policy in of_kind(docs, "NetworkPolicy"):
        own = component(policy)
        outside = [rule for rule in policy["spec"].get("ingress") or []
                   if any("namespaceSelector" in peer for peer in rule.get("from", []))]
        ports = {p["port"] for rule in outside for p in rule["ports"]}
        if own == "gateway":
            assert ports == {8080, 8081, admin["gateway"]}
        elif own in admin:
            assert ports == {admin[own]}
        else:
            assert not ports
        assert all("from" in rule for rule in policy["spec"].get("ingress") or [])
    everybody = render("prod", extra="networkPolicy: {clients: []}")
    gateway = next(p for p in of_kind(everybody, "NetworkPolicy") if p["metadata"]["name"] == "weft-gateway")
    assert {"ports": [{"port": 8080, "protocol": "TCP"}, {"port": 8081, "protocol": "TCP"}]} in gateway["spec"]["ingress"]


def egress_of(docs: list[dict], own: str) -> list[dict]:
    return next(p for p in of_kind(docs, "NetworkPolicy") if component(p) == own)["spec"]["egress"]


def test_gateways_reach_a_cloudnativepg_cluster_or_its_pooler_and_stores_outside():
    pooled = egress_of(render("dev", extra=OVERLAYS["CloudNativePG"]), "gateway")
    direct = egress_of(render("dev", extra=OVERLAYS["CloudNativePG recovered"]), "gateway")
    for rules, label in ((pooled, {"cnpg.io/poolerName": "weft-postgres-pooler"}), (direct, {"cnpg.io/cluster": "weft-postgres"})):
        assert {"to": [{"podSelector": {"matchLabels": label}}], "ports": [{"port": 5432, "protocol": "TCP"}]} in rules
    outside = render("dev", extra=OVERLAYS["stores of others"])
    rule = {"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}], "ports": [{"port": 5432}, {"port": 6379}]}
    assert rule in egress_of(outside, "gateway")
    assert rule not in egress_of(outside, "worker")
