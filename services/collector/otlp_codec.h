// Between OTLP's protobuf messages and the plain structs of libs/spans.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "libs/spans/model.h"

namespace opentelemetry::proto::collector::trace::v1 {
class ExportTraceServiceRequest;
}

namespace weft::collector {

using TraceRequest = opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;

// Values nested deeper than protobuf's own limit of 100 never get here. Moves texts out of
// `request`.
spans::Spans FromProto(TraceRequest& request);
void ToProto(const spans::Spans& spans, TraceRequest& request);

// The binary form. INVALID_ARGUMENT when it does not parse.
absl::StatusOr<spans::Spans> ParseOtlpProto(std::string_view bytes);
// The bytes of an ExportTraceServiceRequest.
std::string SerializeOtlpProto(const spans::Spans& spans);

// Bodies of answers over HTTP: ExportTraceServiceResponse and google.rpc.Status.
std::string ResponseProto(size_t rejected, const std::string& reason);
std::string ResponseJson(size_t rejected, const std::string& reason);
std::string StatusProto(const absl::Status& status);
std::string StatusJson(const absl::Status& status);

}  // namespace weft::collector
