// OTLP in: over gRPC and over HTTP.
#pragma once

#include <memory>
#include <string>

#include "libs/http/router.h"
#include "libs/spans/intake.h"

namespace grpc {
class Service;
}

namespace weft::collector {

struct GrpcReceiver {
  std::unique_ptr<grpc::Service> service;
  std::string name;  // for health
};
// `intake` must outlive the server that the service is registered with.
GrpcReceiver MakeGrpcReceiver(spans::Intake& intake);

// Adds POST /v1/traces: application/x-protobuf or application/json, gzip or plain.
//   200: taken, perhaps with partial_success; 400: never send it again; 413, 415;
//   503 with Retry-After: nothing was taken.
// Answers have the request's content type; errors hold a google.rpc.Status.
absl::Status AddHttpReceiver(http::Router& router, spans::Intake& intake, size_t max_request_bytes);

}  // namespace weft::collector
