// Sends a service's spans to the collector over OTLP gRPC.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "libs/telemetry/telemetry.h"

namespace weft::rpc {

// Never connects before the first export.
absl::StatusOr<std::unique_ptr<telemetry::SpanExporter>> MakeOtlpExporter(
    const telemetry::Config& config, const telemetry::Identity& identity);

// Logs, metrics and traces of a service as its configuration says: what every service's Run begins
// with. `service` is "weft-gateway"; the instance names one of several (worker id), or "".
absl::StatusOr<std::unique_ptr<telemetry::Telemetry>> StartTelemetry(
    const telemetry::Config& config, const std::string& service, const std::string& instance = "");

}  // namespace weft::rpc
