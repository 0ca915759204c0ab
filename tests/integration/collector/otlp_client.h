// What the collector's tests send. The gRPC parts live in the .cc, away from the test's own
// headers.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <optional>
#include <string>

#include "libs/spans/model.h"

namespace weft::collector {

struct GrpcAnswer {
  absl::Status status;
  size_t rejected = 0;
  std::string reason;
  std::optional<std::chrono::milliseconds> retry_after;
};

// Sends a serialized ExportTraceServiceRequest.
GrpcAnswer ExportOverGrpc(const std::string& address, const std::string& request, bool gzip);

// `count` valid spans of one resource, with about 200 bytes each.
spans::Spans ManySpans(size_t count);

// "SERVING", "NOT_SERVING" or the error, by grpc.health.v1.
std::string HealthOf(const std::string& address, const std::string& service);

// Starts a service's telemetry against the collector and ends two spans of one trace.
void SendOwnSpans(const std::string& address);

}  // namespace weft::collector
