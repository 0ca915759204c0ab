// W3C trace context from any client: `traceparent`, a line feed, `tracestate`. What is accepted
// must be valid, be written back and read as the same context; what is refused must leave nothing
// behind.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/telemetry/trace_context.h"

namespace {

void Check(bool condition) {
  if (!condition) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using weft::telemetry::SpanContext;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = text.find('\n');
  const std::string_view parent = text.substr(0, line);
  const std::string_view state =
      line == std::string_view::npos ? std::string_view() : text.substr(line + 1);
  const SpanContext context = weft::telemetry::ParseTraceparent(parent, state);
  const std::string written = weft::telemetry::FormatTraceparent(context);
  if (!context.valid()) {
    Check(written.empty() && context.trace_state.empty() && !context.sampled);
    return 0;
  }
  Check(context.trace_state.size() <= 512);
  Check(std::all_of(context.trace_state.begin(), context.trace_state.end(),
                    [](char c) { return c >= 0x20 && c <= 0x7e; }));
  // The ids are the text's own; the version that we write is 00.
  Check(written.size() == 55 && written.substr(0, 3) == "00-");
  Check(written.substr(2, 51) == parent.substr(2, 51));
  const SpanContext again = weft::telemetry::ParseTraceparent(written, context.trace_state);
  Check(again.trace_id == context.trace_id && again.span_id == context.span_id);
  Check(again.sampled == context.sampled && again.trace_state == context.trace_state);
  return 0;
}
