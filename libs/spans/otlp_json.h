// OTLP's JSON mapping (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): proto3
// JSON with ids in hex instead of base64, enums as numbers, unknown fields ignored.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "libs/spans/model.h"

namespace weft::spans {

// {"resourceSpans":[…]}: an ExportTraceServiceRequest. Errors name the field. Values nested deeper
// than 64 levels are refused.
absl::StatusOr<Spans> ParseOtlpJson(std::string_view text);

// One line, no newline. 64-bit numbers are strings, as the mapping asks.
std::string ToOtlpJson(const Spans& spans);

}  // namespace weft::spans
