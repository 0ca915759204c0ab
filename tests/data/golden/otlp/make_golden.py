#!/usr/bin/env python3
"""Makes export_request.bin, .json and export_response.bin with PyPI's opentelemetry-proto: the public
messages that ours must be wire compatible with. Needs `pip install opentelemetry-proto`.

    python3 tests/data/golden/otlp/make_golden.py
"""

import base64
import json
from pathlib import Path

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

HERE = Path(__file__).parent


def attribute(key, **value):
    return common.KeyValue(key=key, value=common.AnyValue(**value))


def every_kind():
    return [
        attribute("text", string_value="naïve ☃"),
        attribute("flag", bool_value=True),
        attribute("count", int_value=-(2**63)),
        attribute("ratio", double_value=0.1),
        attribute("list", array_value=common.ArrayValue(
            values=[common.AnyValue(int_value=1), common.AnyValue(string_value="two")])),
        attribute("map", kvlist_value=common.KeyValueList(
            values=[attribute("inner", double_value=-1.5e300)])),
        attribute("bytes", bytes_value=bytes(range(8))),
        common.KeyValue(key="empty", value=common.AnyValue()),
    ]


def request():
    span = trace.Span(
        trace_id=bytes(range(1, 17)), span_id=bytes(range(17, 25)), trace_state="vendor=1",
        parent_span_id=bytes(range(33, 41)), flags=0x301, name="POST /v1/chat/completions",
        kind=trace.Span.SPAN_KIND_SERVER, start_time_unix_nano=1_700_000_000_123_456_789,
        end_time_unix_nano=1_700_000_001_123_456_789, attributes=every_kind(),
        dropped_attributes_count=3,
        events=[trace.Span.Event(time_unix_nano=1_700_000_000_500_000_000, name="first token",
                                 attributes=[attribute("index", int_value=0)],
                                 dropped_attributes_count=1)],
        dropped_events_count=4,
        links=[trace.Span.Link(trace_id=bytes(range(65, 81)), span_id=bytes(range(81, 89)),
                               trace_state="a=b", attributes=[attribute("k", string_value="v")],
                               dropped_attributes_count=2, flags=0x101)],
        dropped_links_count=5,
        status=trace.Status(message="worker is gone", code=trace.Status.STATUS_CODE_ERROR))
    message = service.ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add(schema_url="https://example.org/resource")
    resource_spans.resource.attributes.append(attribute("service.name", string_value="golden"))
    resource_spans.resource.dropped_attributes_count = 6
    scope_spans = resource_spans.scope_spans.add(schema_url="https://example.org/scope")
    scope_spans.scope.name = "weft"
    scope_spans.scope.version = "1.2.3"
    scope_spans.scope.attributes.append(attribute("scoped", bool_value=False))
    scope_spans.scope.dropped_attributes_count = 7
    scope_spans.spans.append(span)
    scope_spans.spans.append(trace.Span(
        trace_id=bytes(range(1, 17)), span_id=bytes(range(41, 49)), name="root",
        start_time_unix_nano=1, end_time_unix_nano=2))
    return message


def otlp_json(message):
    """proto3 JSON, with OTLP's two changes: ids in hex, enums as numbers."""
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    for resource in tree["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for place in [span, *span.get("links", [])]:
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in place:
                            place[key] = base64.b64decode(place[key]).hex()
    return json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main():
    message = request()
    (HERE / "export_request.bin").write_bytes(message.SerializeToString(deterministic=True))
    (HERE / "export_request.json").write_text(otlp_json(message))
    response = service.ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "span_id: must have 8 bytes, not all zero"
    (HERE / "export_response.bin").write_bytes(response.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
