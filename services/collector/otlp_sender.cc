#include "services/collector/otlp_sender.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "libs/base/status.h"
#include "libs/rpc/status.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.grpc.pb.h"
#include "services/collector/otlp_codec.h"

namespace weft::collector {
namespace {

namespace service = opentelemetry::proto::collector::trace::v1;

class OtlpSender final : public spans::Sender {
 public:
  explicit OtlpSender(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(service::TraceService::NewStub(channel)) {}

  Result Send(const spans::Spans& spans, std::chrono::nanoseconds timeout) override {
    service::ExportTraceServiceRequest request;
    ToProto(spans, request);
    grpc::ClientContext context;
    rpc::SetTimeout(context, timeout);
    {
      std::lock_guard lock(mutex_);
      if (cancelled_) return {Cancelled("the exporter was stopped")};
      in_flight_.insert(&context);
    }
    service::ExportTraceServiceResponse response;
    const absl::Status status = rpc::FromGrpcStatus(stub_->Export(&context, request, &response));
    {
      std::lock_guard lock(mutex_);
      in_flight_.erase(&context);
    }
    const int64_t rejected = response.partial_success().rejected_spans();
    return {status, static_cast<size_t>(std::max<int64_t>(0, rejected))};
  }

  void Cancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (grpc::ClientContext* context : in_flight_) context->TryCancel();
  }

 private:
  const std::unique_ptr<service::TraceService::Stub> stub_;
  std::mutex mutex_;
  bool cancelled_ = false;
  std::set<grpc::ClientContext*> in_flight_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<spans::Sender>> MakeOtlpSender(const rpc::ChannelOptions& options) {
  WEFT_ASSIGN_OR_RETURN(const auto channel, rpc::MakeChannel(options));
  return std::make_unique<OtlpSender>(channel);
}

}  // namespace weft::collector
