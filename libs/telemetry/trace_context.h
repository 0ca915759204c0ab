// W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace weft::telemetry {

using TraceId = std::array<uint8_t, 16>;
using SpanId = std::array<uint8_t, 8>;

struct SpanContext {
  TraceId trace_id = {};
  SpanId span_id = {};
  bool sampled = false;
  std::string trace_state = {};  // passed on as it came

  // Neither id is all zeros.
  bool valid() const;
};

// An invalid context when the header breaks the grammar: section 3.2.2.
SpanContext ParseTraceparent(std::string_view traceparent, std::string_view tracestate = {});

// "00-<trace id>-<span id>-01"; empty for an invalid context.
std::string FormatTraceparent(const SpanContext& context);

}  // namespace weft::telemetry
