#include "tests/integration/collector/otlp_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/otlp_exporter.h"
#include "libs/rpc/status.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "services/collector/otlp_codec.h"

namespace weft::collector {
namespace {

namespace service = opentelemetry::proto::collector::trace::v1;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  rpc::ChannelOptions options;
  options.target = address;
  return *rpc::MakeChannel(options);
}

}  // namespace

GrpcAnswer ExportOverGrpc(const std::string& address, const std::string& request, bool gzip) {
  service::ExportTraceServiceRequest message;
  WEFT_CHECK(message.ParseFromString(request));
  grpc::ClientContext context;
  rpc::SetTimeout(context, std::chrono::seconds(10));
  if (gzip) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  service::ExportTraceServiceResponse response;
  const auto stub = service::TraceService::NewStub(Connect(address));
  GrpcAnswer answer;
  answer.status = rpc::FromGrpcStatus(stub->Export(&context, message, &response));
  answer.rejected = static_cast<size_t>(response.partial_success().rejected_spans());
  answer.reason = response.partial_success().error_message();
  answer.retry_after = RetryAfterOf(answer.status);
  return answer;
}

spans::Spans ManySpans(size_t count) {
  spans::ResourceSpans resource;
  resource.resource.push_back({"service.name", {std::string("many")}});
  resource.scopes.resize(1);
  for (size_t i = 0; i < count; ++i) {
    spans::Span& span = resource.scopes[0].spans.emplace_back();
    span.trace_id = std::string(16, '\1');
    span.span_id = std::string(8, '\2');
    span.name = "span " + std::to_string(i);
    span.start_time_unix_nano = 1;
    span.attributes.push_back({"padding", {std::string(150, 'x')}});
  }
  return {resource};
}

std::string HealthOf(const std::string& address, const std::string& name) {
  // HealthCheckRequest{service = 1} and HealthCheckResponse{status = 1}, by hand: Debian ships no
  // health.proto.
  std::string request;
  if (!name.empty()) request = std::string("\x0a") + static_cast<char>(name.size()) + name;
  grpc::Slice slice(request);
  grpc::ByteBuffer input(&slice, 1);
  grpc::ByteBuffer output;
  grpc::ClientContext context;
  rpc::SetTimeout(context, std::chrono::seconds(10));
  grpc::GenericStub stub(Connect(address));
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", input, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(&output, &status, &queue);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return status.error_message();
  std::vector<grpc::Slice> slices;
  if (!output.Dump(&slices).ok() || slices.empty() || slices[0].size() < 2) return "UNKNOWN";
  return slices[0].begin()[1] == 1 ? "SERVING" : "NOT_SERVING";
}

void SendOwnSpans(const std::string& address) {
  telemetry::Config config;
  config.otlp_endpoint = address;
  config.resource_attributes["deployment.environment"] = "ci";
  auto started = rpc::StartTelemetry(config, "weft-test", "one");
  WEFT_CHECK(started.ok());
  auto& tracer = (*started)->tracer();
  {
    auto parent = tracer.Start("request", {.kind = telemetry::SpanKind::kServer});
    auto child = tracer.Start("decode", {.parent = parent.context()});
    child.AddEvent("first token");
    child.SetError("worker is gone");
  }
  (*started)->Shutdown(std::chrono::seconds(5));
  WEFT_CHECK(tracer.stats().exported == 2);
}

}  // namespace weft::collector
