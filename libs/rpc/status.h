// absl::Status over gRPC. The code and message travel as they are; the field at fault and the
// retry time (base/error_info.h) travel as google.rpc.BadRequest and google.rpc.RetryInfo in the
// standard grpc-status-details-bin trailer, so that any gRPC client can read them.
#pragma once

#include <absl/status/status.h>
#include <grpcpp/support/status.h>

namespace weft::rpc {

grpc::Status ToGrpcStatus(const absl::Status& status);

// Details that do not parse are ignored: the code and message still hold.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace weft::rpc
