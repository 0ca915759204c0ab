#!/usr/bin/env python3
"""make_dashboards.py: writes Grafana's dashboards, helm/weft/files/dashboards/*.json, from the tables below.

Each dashboard is rows of panels; a panel is a title, a unit of Grafana's and queries (legend -> PromQL). A test compares
the files with this script, and every metric with what the services export.
"""

import json
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "helm/weft/files/dashboards"
IN = 'job="weft",namespace=~"$namespace"'


def rate(metric: str, by: str = "", more: str = "") -> str:
    inner = f"rate({metric}{{{IN}{more}}}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def quantile(q: float, metric: str, by: str = "", more: str = "") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{IN}{more}}}[$__rate_interval])))"


def quantiles(metric: str, more: str = "") -> dict[str, str]:
    return {f"p{int(q * 100)}": quantile(q, metric, more=more) for q in (0.5, 0.95, 0.99)}


def of(metric: str, how: str = "sum", by: str = "") -> str:
    return f"{how} by ({by}) ({metric}{{{IN}}})" if by else f"{how}({metric}{{{IN}}})"


ERRORS = f'{rate("http_requests_total", more=",status=~" + chr(34) + "5.." + chr(34))} / {rate("http_requests_total")}'
HITS = f'{rate("weft_prefix_cache_hits_total")} / {rate("weft_prefix_cache_queries_total")}'

BOARDS = {
    "overview": ("Weft: overview", {
        "Users": [
            ("Requests per second", "reqps", {"{{endpoint}}": rate("http_requests_total", "endpoint")}),
            ("Answers by status", "reqps", {"{{status}}": rate("http_requests_total", "status")}),
            ("Share of errors (5xx)", "percentunit", {"errors": ERRORS}),
            ("Time to first token", "s", quantiles("weft_time_to_first_token_seconds", ',model!=""')),
            ("Request duration, p95", "s", {"{{endpoint}}": quantile(0.95, "http_request_duration_seconds", "endpoint")}),
            ("Tokens per second", "short", {"{{model}} {{kind}}": rate("weft_tokens_total", "model, kind")}),
        ],
        "Mesh": [
            ("Running and waiting", "short", {"running": of("weft_scheduler_requests_running"),
                                              "waiting": of("weft_scheduler_requests_waiting")}),
            ("Workers, gateways", "short", {"workers": of("weft_scheduler_workers", "max"),
                                            "gateways": of("weft_scheduler_gateways", "max")}),
            ("KV cache in use", "percentunit", {"{{pod}}{{instance}}": of("weft_kv_cache_usage_perc", "max", "pod, instance")}),
        ],
        "Refused": [
            ("Rate limited", "reqps", {"429": rate("weft_rate_limited_total")}),
            ("Failed sign-ins", "reqps", {"{{reason}}": rate("weft_auth_failures_total", "reason")}),
            ("Cancelled", "reqps", {"{{reason}}": rate("weft_requests_cancelled_total", "reason")}),
        ],
    }),
    "models": ("Weft: models and workers", {
        "Models": [
            ("Generation time, p95", "s", {"{{model_id}}": quantile(0.95, "model_inference_duration_seconds", "model_id")}),
            ("Prediction errors", "reqps", {"{{model_id}} {{error_type}}": rate("prediction_errors_total", "model_id, error_type")}),
            ("Memory", "bytes", {"{{model_name}}": of("model_memory_bytes", "sum", "model_name")}),
            ("Code requests", "reqps", {"{{language}} {{status}}": rate("code_gen_requests_total", "language, status")}),
            ("Code generation, p95", "s", {"{{language}}": quantile(0.95, "code_gen_duration_seconds", "language")}),
            ("Active generations", "short", {"active": of("active_requests")}),
        ],
        "Engine": [
            ("Time between tokens", "s", quantiles("weft_inter_token_latency_seconds")),
            ("Prefill time", "s", quantiles("weft_request_prefill_time_seconds")),
            ("Tokens per second", "short", {"prompt": rate("weft_prompt_tokens_total"),
                                            "output": rate("weft_generation_tokens_total")}),
            ("Tokens per step", "short", quantiles("weft_iteration_tokens_total")),
            ("Prefix cache hits", "percentunit", {"hits": HITS}),
            ("Preemptions, evictions", "ops", {"preemptions": rate("weft_num_preemptions_total"),
                                               "evicted blocks": rate("weft_kv_evictions_total")}),
            ("Sequences", "short", {"running {{pod}}{{instance}}": of("weft_num_requests_running", "sum", "pod, instance"),
                                    "waiting {{pod}}{{instance}}": of("weft_num_requests_waiting", "sum", "pod, instance")}),
            ("Steps per second", "ops", {"steps": rate("weft_engine_steps_total"),
                                         "failed": rate("weft_engine_failed_steps_total")}),
        ],
    }),
    "operations": ("Weft: scheduling, scanning, tracing", {
        "Scheduler": [
            ("Queue time", "s", quantiles("weft_scheduler_queue_seconds")),
            ("Ends", "reqps", {"{{status}}": rate("weft_scheduler_requests_total", "status")}),
            ("Lost workers", "ops", {"{{reason}}": rate("weft_scheduler_worker_losses_total", "reason")}),
            ("Failover", "ops", {"sequences moved": rate("weft_scheduler_redispatches_total"),
                                 "tokens computed again": rate("weft_scheduler_recomputed_tokens_total"),
                                 "other numerics": rate("weft_scheduler_numerics_changes_total")}),
        ],
        "Scanner": [
            ("Findings", "ops", {"{{kind}} {{action}}": rate("weft_scan_findings_total", "kind, action")}),
            ("Scan time", "s", quantiles("weft_scanner_scan_seconds")),
            ("Text", "Bps", {"{{kind}}": rate("weft_scanner_bytes_total", "kind")}),
            ("Not scanned", "ops", {"{{mode}}": rate("weft_scan_unavailable_total", "mode")}),
        ],
        "Traces and logs": [
            ("Spans", "ops", {"received": rate("weft_collector_spans_received_total"),
                              "sent on": rate("weft_collector_spans_exported_total"),
                              "refused": rate("weft_collector_spans_refused_total"),
                              "failed": rate("weft_collector_spans_failed_total")}),
            ("Disk queue", "bytes", {"{{pod}}{{instance}}": of("weft_collector_disk_queue_bytes", "sum", "pod, instance")}),
            ("Log lines", "ops", {"{{level}}": rate("weft_log_lines_total", "level"),
                                  "dropped": rate("weft_log_lines_dropped_total")}),
        ],
        "Processes": [
            ("CPU", "short", {"{{pod}}{{instance}}": rate("process_cpu_seconds_total", "pod, instance")}),
            ("Memory", "bytes", {"{{pod}}{{instance}}": of("process_resident_memory_bytes", "sum", "pod, instance")}),
            ("Open files", "short", {"{{pod}}{{instance}}": of("process_open_fds", "sum", "pod, instance")}),
        ],
    }),
}


def board(uid: str, title: str, rows: dict) -> dict:
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels, y, number = [], 0, 0
    for row, entries in rows.items():
        number += 1
        panels.append({"id": number, "type": "row", "title": row, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        for index, (name, unit, queries) in enumerate(entries):
            number += 1
            panels.append({
                "id": number, "type": "timeseries", "title": name, "datasource": source,
                "gridPos": {"x": 8 * (index % 3), "y": y + 8 * (index // 3), "w": 8, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
                                "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                "targets": [{"refId": chr(65 + i), "datasource": source, "expr": expr, "legendFormat": legend}
                            for i, (legend, expr) in enumerate(queries.items())]})
        y += 8 * ((len(entries) + 2) // 3)
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source", "hide": 0},
        {"name": "namespace", "type": "query", "label": "Namespace", "datasource": source, "hide": 0, "refresh": 2,
         "query": {"query": 'label_values(weft_build_info{job="weft"}, namespace)', "refId": "n"},
         "includeAll": True, "allValue": ".*", "multi": True, "current": {"text": "All", "value": "$__all"}}]
    return {"uid": f"weft-{uid}", "title": title, "tags": ["weft"], "schemaVersion": 39, "version": 1, "editable": True,
            "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
            "templating": {"list": variables}, "annotations": {"list": []}, "panels": panels}


def texts() -> dict[str, str]:
    return {name: json.dumps(board(name, title, rows), indent=1) + "\n" for name, (title, rows) in BOARDS.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (OUT / f"{name}.json").write_text(text)
