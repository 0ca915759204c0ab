#include <grpcpp/server_context.h>

#include "libs/rpc/status.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "services/collector/otlp_codec.h"
#include "services/collector/receivers.h"

namespace weft::collector {
namespace {

namespace service = opentelemetry::proto::collector::trace::v1;

class TraceReceiver final : public service::TraceService::CallbackService {
 public:
  explicit TraceReceiver(spans::Intake& intake) : intake_(intake) {}

  grpc::ServerUnaryReactor* Export(grpc::CallbackServerContext* context,
                                   const service::ExportTraceServiceRequest* request,
                                   service::ExportTraceServiceResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    // The texts are moved out of the request, which nobody reads after this.
    spans::Spans spans = FromProto(*const_cast<service::ExportTraceServiceRequest*>(request));
    const spans::Intake::Answer answer = intake_.Take(std::move(spans), "grpc");
    if (answer.rejected > 0) {
      response->mutable_partial_success()->set_rejected_spans(
          static_cast<int64_t>(answer.rejected));
      response->mutable_partial_success()->set_error_message(answer.reason);
    }
    reactor->Finish(rpc::ToGrpcStatus(answer.status));
    return reactor;
  }

 private:
  spans::Intake& intake_;
};

}  // namespace

GrpcReceiver MakeGrpcReceiver(spans::Intake& intake) {
  return {std::make_unique<TraceReceiver>(intake), service::TraceService::service_full_name()};
}

}  // namespace weft::collector
