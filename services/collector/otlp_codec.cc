#include "services/collector/otlp_codec.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/telemetry/json_text.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "weft/rpc/v1/error_details.pb.h"

namespace weft::collector {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace trace = opentelemetry::proto::trace::v1;
namespace service = opentelemetry::proto::collector::trace::v1;
using KeyValues = google::protobuf::RepeatedPtrField<common::KeyValue>;

spans::Attributes TakeAttributes(KeyValues& in);

spans::AnyValue TakeValue(common::AnyValue& in) {
  spans::AnyValue out;
  switch (in.value_case()) {
    case common::AnyValue::kStringValue:
      out.value = std::move(*in.mutable_string_value());
      break;
    case common::AnyValue::kBoolValue:
      out.value = in.bool_value();
      break;
    case common::AnyValue::kIntValue:
      out.value = static_cast<int64_t>(in.int_value());
      break;
    case common::AnyValue::kDoubleValue:
      out.value = in.double_value();
      break;
    case common::AnyValue::kArrayValue: {
      spans::ArrayValue items;
      for (common::AnyValue& item : *in.mutable_array_value()->mutable_values()) {
        items.push_back(TakeValue(item));
      }
      out.value = std::move(items);
      break;
    }
    case common::AnyValue::kKvlistValue:
      out.value = TakeAttributes(*in.mutable_kvlist_value()->mutable_values());
      break;
    case common::AnyValue::kBytesValue:
      out.value = spans::Bytes{std::move(*in.mutable_bytes_value())};
      break;
    case common::AnyValue::VALUE_NOT_SET:
      break;
  }
  return out;
}

spans::Attributes TakeAttributes(KeyValues& in) {
  spans::Attributes out;
  out.reserve(static_cast<size_t>(in.size()));
  for (common::KeyValue& entry : in) {
    out.push_back({std::move(*entry.mutable_key()), TakeValue(*entry.mutable_value())});
  }
  return out;
}

spans::Span TakeSpan(trace::Span& in) {
  spans::Span out;
  out.trace_id = std::move(*in.mutable_trace_id());
  out.span_id = std::move(*in.mutable_span_id());
  out.trace_state = std::move(*in.mutable_trace_state());
  out.parent_span_id = std::move(*in.mutable_parent_span_id());
  out.flags = in.flags();
  out.name = std::move(*in.mutable_name());
  out.kind = static_cast<int32_t>(in.kind());
  out.start_time_unix_nano = in.start_time_unix_nano();
  out.end_time_unix_nano = in.end_time_unix_nano();
  out.attributes = TakeAttributes(*in.mutable_attributes());
  out.dropped_attributes_count = in.dropped_attributes_count();
  for (trace::Span::Event& event : *in.mutable_events()) {
    out.events.push_back({event.time_unix_nano(), std::move(*event.mutable_name()),
                          TakeAttributes(*event.mutable_attributes()),
                          event.dropped_attributes_count()});
  }
  out.dropped_events_count = in.dropped_events_count();
  for (trace::Span::Link& link : *in.mutable_links()) {
    out.links.push_back({std::move(*link.mutable_trace_id()), std::move(*link.mutable_span_id()),
                         std::move(*link.mutable_trace_state()),
                         TakeAttributes(*link.mutable_attributes()),
                         link.dropped_attributes_count(), link.flags()});
  }
  out.dropped_links_count = in.dropped_links_count();
  out.status_code = static_cast<int32_t>(in.status().code());
  if (in.has_status()) out.status_message = std::move(*in.mutable_status()->mutable_message());
  return out;
}

void SetAttributes(const spans::Attributes& in, KeyValues& out);

void SetValue(const spans::AnyValue& in, common::AnyValue& out) {
  struct Visitor {
    common::AnyValue& out;
    void operator()(std::monostate) const {}
    void operator()(const std::string& v) const { out.set_string_value(v); }
    void operator()(bool v) const { out.set_bool_value(v); }
    void operator()(int64_t v) const { out.set_int_value(v); }
    void operator()(double v) const { out.set_double_value(v); }
    void operator()(const spans::Bytes& v) const { out.set_bytes_value(v.data); }
    void operator()(const spans::ArrayValue& v) const {
      auto* values = out.mutable_array_value()->mutable_values();
      for (const spans::AnyValue& item : v) SetValue(item, *values->Add());
    }
    void operator()(const spans::KeyValueList& v) const {
      SetAttributes(v, *out.mutable_kvlist_value()->mutable_values());
    }
  };
  std::visit(Visitor{out}, in.value);
}

void SetAttributes(const spans::Attributes& in, KeyValues& out) {
  out.Reserve(static_cast<int>(in.size()));
  for (const spans::KeyValue& entry : in) {
    common::KeyValue* added = out.Add();
    added->set_key(entry.key);
    SetValue(entry.value, *added->mutable_value());
  }
}

void SetSpan(const spans::Span& in, trace::Span& out) {
  out.set_trace_id(in.trace_id);
  out.set_span_id(in.span_id);
  out.set_trace_state(in.trace_state);
  out.set_parent_span_id(in.parent_span_id);
  out.set_flags(in.flags);
  out.set_name(in.name);
  out.set_kind(static_cast<trace::Span::SpanKind>(in.kind));
  out.set_start_time_unix_nano(in.start_time_unix_nano);
  out.set_end_time_unix_nano(in.end_time_unix_nano);
  SetAttributes(in.attributes, *out.mutable_attributes());
  out.set_dropped_attributes_count(in.dropped_attributes_count);
  for (const spans::Event& event : in.events) {
    trace::Span::Event* added = out.add_events();
    added->set_time_unix_nano(event.time_unix_nano);
    added->set_name(event.name);
    SetAttributes(event.attributes, *added->mutable_attributes());
    added->set_dropped_attributes_count(event.dropped_attributes_count);
  }
  out.set_dropped_events_count(in.dropped_events_count);
  for (const spans::Link& link : in.links) {
    trace::Span::Link* added = out.add_links();
    added->set_trace_id(link.trace_id);
    added->set_span_id(link.span_id);
    added->set_trace_state(link.trace_state);
    SetAttributes(link.attributes, *added->mutable_attributes());
    added->set_dropped_attributes_count(link.dropped_attributes_count);
    added->set_flags(link.flags);
  }
  out.set_dropped_links_count(in.dropped_links_count);
  if (in.status_code != 0 || !in.status_message.empty()) {
    out.mutable_status()->set_code(static_cast<trace::Status::StatusCode>(in.status_code));
    out.mutable_status()->set_message(in.status_message);
  }
}

}  // namespace

spans::Spans FromProto(TraceRequest& request) {
  spans::Spans out;
  for (trace::ResourceSpans& resource : *request.mutable_resource_spans()) {
    spans::ResourceSpans& added = out.emplace_back();
    added.resource = TakeAttributes(*resource.mutable_resource()->mutable_attributes());
    added.resource_dropped_attributes_count = resource.resource().dropped_attributes_count();
    added.schema_url = std::move(*resource.mutable_schema_url());
    for (trace::ScopeSpans& scope : *resource.mutable_scope_spans()) {
      spans::ScopeSpans& inner = added.scopes.emplace_back();
      inner.scope_name = std::move(*scope.mutable_scope()->mutable_name());
      inner.scope_version = std::move(*scope.mutable_scope()->mutable_version());
      inner.scope_attributes = TakeAttributes(*scope.mutable_scope()->mutable_attributes());
      inner.scope_dropped_attributes_count = scope.scope().dropped_attributes_count();
      inner.schema_url = std::move(*scope.mutable_schema_url());
      inner.spans.reserve(static_cast<size_t>(scope.spans_size()));
      for (trace::Span& span : *scope.mutable_spans()) inner.spans.push_back(TakeSpan(span));
    }
  }
  return out;
}

void ToProto(const spans::Spans& in, TraceRequest& request) {
  for (const spans::ResourceSpans& resource : in) {
    trace::ResourceSpans* added = request.add_resource_spans();
    SetAttributes(resource.resource, *added->mutable_resource()->mutable_attributes());
    added->mutable_resource()->set_dropped_attributes_count(
        resource.resource_dropped_attributes_count);
    added->set_schema_url(resource.schema_url);
    for (const spans::ScopeSpans& scope : resource.scopes) {
      trace::ScopeSpans* inner = added->add_scope_spans();
      inner->mutable_scope()->set_name(scope.scope_name);
      inner->mutable_scope()->set_version(scope.scope_version);
      SetAttributes(scope.scope_attributes, *inner->mutable_scope()->mutable_attributes());
      inner->mutable_scope()->set_dropped_attributes_count(scope.scope_dropped_attributes_count);
      inner->set_schema_url(scope.schema_url);
      for (const spans::Span& span : scope.spans) SetSpan(span, *inner->add_spans());
    }
  }
}

absl::StatusOr<spans::Spans> ParseOtlpProto(std::string_view bytes) {
  TraceRequest request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument("the body is not an ExportTraceServiceRequest");
  }
  return FromProto(request);
}

std::string SerializeOtlpProto(const spans::Spans& spans) {
  TraceRequest request;
  ToProto(spans, request);
  return request.SerializeAsString();
}

std::string ResponseProto(size_t rejected, const std::string& reason) {
  service::ExportTraceServiceResponse response;
  if (rejected > 0) {
    response.mutable_partial_success()->set_rejected_spans(static_cast<int64_t>(rejected));
    response.mutable_partial_success()->set_error_message(reason);
  }
  return response.SerializeAsString();
}

std::string ResponseJson(size_t rejected, const std::string& reason) {
  if (rejected == 0) return "{}";
  std::string out =
      fmt::format("{{\"partialSuccess\":{{\"rejectedSpans\":\"{}\",\"errorMessage\":", rejected);
  telemetry::AppendJsonString(out, reason);
  return out + "}}";
}

std::string StatusProto(const absl::Status& status) {
  rpc::v1::StatusDetails details;  // wire compatible with google.rpc.Status
  details.set_code(static_cast<int>(status.code()));
  details.set_message(telemetry::ValidUtf8(Message(status), 4096));
  return details.SerializeAsString();
}

std::string StatusJson(const absl::Status& status) {
  std::string out = fmt::format("{{\"code\":{},\"message\":", static_cast<int>(status.code()));
  telemetry::AppendJsonString(out, Message(status));
  return out + "}";
}

}  // namespace weft::collector
