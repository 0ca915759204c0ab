"""One request is one trace, seen in the collector's file output."""

import json

from mesh import wait_until


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
    services = {"weft-gateway", "weft-scheduler", "weft-worker", "weft-scanner"}

    def whole():  # services export on their own time, and a span after the spans below it
        spans = spans_of(mesh, trace_id)
        known = {span["spanId"] for span in spans} | {parent}
        return ({s["service"] for s in spans} >= services
                and any(s.get("parentSpanId") == parent for s in spans)
                and all(s.get("parentSpanId") in known for s in spans)
                and {"prefill", "decode"} <= {s["name"] for s in spans})

    wait_until(whole, 20, 0.2)
    spans = spans_of(mesh, trace_id)
    ids = {span["spanId"]: span for span in spans}
    assert len(ids) == len(spans), "a span was exported twice"

    roots = [span for span in spans if span.get("parentSpanId") == parent]
    assert [root["service"] for root in roots] == ["weft-gateway"]
    root = roots[0]
    for span in spans:
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        assert start <= end
        if span is root:
            continue
        assert span["parentSpanId"] in ids, f"{span['name']} has a parent that is not in the trace"
        # One machine: everything happens within the request. Slack: 1 ms, because each process pairs
        # its own steady and wall clock; 50 ms for spans that close after the answer was sent.
        assert start >= int(root["startTimeUnixNano"]) - 1_000_000
        assert end <= int(root["endTimeUnixNano"]) + 50_000_000
        above = ids[span["parentSpanId"]]
        assert start >= int(above["startTimeUnixNano"]) - 1_000_000

    by_service = {name: [s for s in spans if s["service"] == name] for name in services}
    chain = by_service["weft-worker"][0]
    seen = []
    while chain is not root:
        seen.append(chain["service"])
        chain = ids[chain["parentSpanId"]]
    assert "weft-scheduler" in seen, "the worker's spans hang below the scheduler's"
    names = {s["name"] for s in by_service["weft-worker"]}
    assert any("prefill" in name for name in names) and any("decode" in name for name in names)
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
    assert {"timestamp", "level", "message", "module", "function", "line"} <= set(entry)
    for service in mesh.services():
        if service != "jaeger":
            mesh.log_lines(service)  # asserts that every line is JSON
