"""One request is one trace, seen in the collector's file output."""

import json

from mesh import wait_until
from trace_check import Span, check_trace, is_whole


def spans_of(mesh, trace_id):
    """Spans of one trace from the file of OTLP JSON lines, with their service's name."""
    found = []
    if not mesh.spans_file.exists():
        return found
    for line in mesh.spans_file.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            service = next(a["value"]["stringValue"] for a in resource["resource"]["attributes"]
                           if a["key"] == "service.name")
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    if span["traceId"] == trace_id:
                        found.append({**span, "service": service})
    return found


def test_one_request_is_one_trace_through_four_services(mesh, model):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    parent = "b7ad6b7169203331"
    with mesh.client(headers={**mesh.headers(),
                              "traceparent": f"00-{trace_id}-{parent}-01"}) as client:
        response = client.post("/v1/chat/completions", json={
            "model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]})
    assert response.status_code == 200

    def whole():
        spans = spans_of(mesh, trace_id)
        seen = [Span(s["spanId"], s.get("parentSpanId"), s["service"], s["name"],
                     int(s["startTimeUnixNano"]), int(s["endTimeUnixNano"])) for s in spans]
        return (spans, seen) if is_whole(seen, parent) else None

    spans, seen = wait_until(whole, 20, 0.2)
    check_trace(seen, parent)
    attributes = {a["key"] for span in spans for a in span.get("attributes", [])}
    assert {"gen_ai.request.model", "gen_ai.usage.output_tokens"} <= attributes


def test_log_lines_carry_the_request_and_the_trace(mesh, model):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with mesh.client(headers={**mesh.headers(),
                              "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}) as client:
        response = client.post("/v1/chat/completions", json={
            "model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]})
    request_id = response.headers["x-request-id"]

    def line():
        return next((entry for entry in mesh.log_lines("gateway")
                     if entry.get("request_id") == request_id), None)

    entry = wait_until(line, 5)
    assert entry["trace_id"] == trace_id
    assert {"timestamp", "level", "message", "logger", "module", "function", "line", "user_id",
            "generation_time_ms"} <= set(entry), entry
    for service in mesh.services():
        if service != "jaeger":
            mesh.log_lines(service)  # asserts that every line is JSON
