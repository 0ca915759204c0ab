// gRPC's own log lines, through ours.
#pragma once

namespace weft::rpc {

// Sends what gRPC logs (errors only, unless GRPC_VERBOSITY says more) to the logger "grpc", so that
// every line of a service is JSON. Idempotent.
void RouteGrpcLogs();

}  // namespace weft::rpc
