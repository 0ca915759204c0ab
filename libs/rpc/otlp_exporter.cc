#include "libs/rpc/otlp_exporter.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "libs/base/status.h"
#include "libs/config/cli.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/grpc_log.h"
#include "libs/rpc/status.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"

namespace weft::rpc {
namespace {

namespace common = opentelemetry::proto::common::v1;
namespace trace = opentelemetry::proto::trace::v1;
namespace collector = opentelemetry::proto::collector::trace::v1;
using KeyValues = google::protobuf::RepeatedPtrField<common::KeyValue>;

void SetValue(common::AnyValue& out, const telemetry::AttributeValue& value) {
  struct Visitor {
    common::AnyValue& out;
    void operator()(const std::string& v) const { out.set_string_value(v); }
    void operator()(int64_t v) const { out.set_int_value(v); }
    void operator()(double v) const { out.set_double_value(v); }
    void operator()(bool v) const { out.set_bool_value(v); }
    void operator()(const std::vector<std::string>& v) const {
      for (const std::string& item : v) {
        out.mutable_array_value()->add_values()->set_string_value(item);
      }
    }
  };
  std::visit(Visitor{out}, value);
}

void SetAttributes(KeyValues& out, const telemetry::Attributes& attributes) {
  for (const auto& [key, value] : attributes) {
    common::KeyValue* entry = out.Add();
    entry->set_key(key);
    SetValue(*entry->mutable_value(), value);
  }
}

template <size_t N>
std::string Bytes(const std::array<uint8_t, N>& id) {
  return {reinterpret_cast<const char*>(id.data()), N};
}

void SetSpan(trace::Span& out, const telemetry::SpanData& span) {
  out.set_trace_id(Bytes(span.context.trace_id));
  out.set_span_id(Bytes(span.context.span_id));
  if (span.parent != telemetry::SpanId{}) out.set_parent_span_id(Bytes(span.parent));
  out.set_trace_state(span.context.trace_state);
  out.set_flags(span.context.sampled ? 1 : 0);
  out.set_name(span.name);
  out.set_kind(static_cast<trace::Span::SpanKind>(span.kind));
  out.set_start_time_unix_nano(static_cast<uint64_t>(UnixNanos(span.start)));
  out.set_end_time_unix_nano(static_cast<uint64_t>(UnixNanos(span.end)));
  SetAttributes(*out.mutable_attributes(), span.attributes);
  out.set_dropped_attributes_count(span.dropped_attributes);
  for (const telemetry::SpanEvent& event : span.events) {
    auto* entry = out.add_events();
    entry->set_time_unix_nano(static_cast<uint64_t>(UnixNanos(event.time)));
    entry->set_name(event.name);
    SetAttributes(*entry->mutable_attributes(), event.attributes);
  }
  out.set_dropped_events_count(span.dropped_events);
  if (span.status != telemetry::SpanStatus::kUnset) {
    out.mutable_status()->set_code(static_cast<trace::Status::StatusCode>(span.status));
    out.mutable_status()->set_message(span.status_message);
  }
}

class OtlpExporter final : public telemetry::SpanExporter {
 public:
  OtlpExporter(const std::shared_ptr<grpc::Channel>& channel, telemetry::Attributes resource,
               std::string version)
      : stub_(collector::TraceService::NewStub(channel)),
        resource_(std::move(resource)),
        version_(std::move(version)) {}

  absl::Status Export(const std::vector<telemetry::SpanData>& spans,
                      std::chrono::nanoseconds timeout) override {
    collector::ExportTraceServiceRequest request;
    trace::ResourceSpans* resource_spans = request.add_resource_spans();
    SetAttributes(*resource_spans->mutable_resource()->mutable_attributes(), resource_);
    trace::ScopeSpans* scope_spans = resource_spans->add_scope_spans();
    scope_spans->mutable_scope()->set_name("weft");
    scope_spans->mutable_scope()->set_version(version_);
    for (const telemetry::SpanData& span : spans) SetSpan(*scope_spans->add_spans(), span);

    grpc::ClientContext context;
    SetTimeout(context, timeout);
    collector::ExportTraceServiceResponse response;
    return FromGrpcStatus(stub_->Export(&context, request, &response));
  }

 private:
  const std::unique_ptr<collector::TraceService::Stub> stub_;
  const telemetry::Attributes resource_;
  const std::string version_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<telemetry::SpanExporter>> MakeOtlpExporter(
    const telemetry::Config& config, const telemetry::Identity& identity) {
  ChannelOptions options;
  options.target = config.otlp_endpoint;
  options.tls.enabled = config.otlp_tls;
  options.tls.ca_file = config.otlp_ca_file;
  WEFT_ASSIGN_OR_RETURN(const auto channel, MakeChannel(options));
  return std::make_unique<OtlpExporter>(channel, telemetry::ResourceAttributes(config, identity),
                                        identity.version);
}

absl::StatusOr<std::unique_ptr<telemetry::Telemetry>> StartTelemetry(
    const telemetry::Config& config, const std::string& service, const std::string& instance) {
  const telemetry::Identity identity{service, config::Version(), instance};
  std::unique_ptr<telemetry::SpanExporter> exporter;
  if (config.traces) {
    WEFT_ASSIGN_OR_RETURN(exporter, MakeOtlpExporter(config, identity));
  }
  RouteGrpcLogs();
  return telemetry::Telemetry::Start(config, identity, std::move(exporter));
}

}  // namespace weft::rpc
