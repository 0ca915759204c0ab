#include "libs/telemetry/trace_context.h"

#include <algorithm>
#include <span>

#include "libs/base/ids.h"

namespace weft::telemetry {
namespace {

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool AllZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

// Vendors' data: only its size and alphabet matter to us. A bad one is dropped alone.
std::string CheckedTraceState(std::string_view text) {
  constexpr size_t kLimit = 512;
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
  return text.size() <= kLimit && printable ? std::string(text) : std::string();
}

}  // namespace

bool SpanContext::valid() const { return !AllZero(trace_id) && !AllZero(span_id); }

SpanContext ParseTraceparent(std::string_view text, std::string_view tracestate) {
  constexpr size_t kSize = 55;
  if (text.size() < kSize || text[2] != '-' || text[35] != '-' || text[52] != '-') return {};
  const std::string_view version = text.substr(0, 2);
  const std::string_view flags = text.substr(53, 2);
  if (!IsLowerHex(version) || version == "ff" || !IsLowerHex(flags)) return {};
  if (!IsLowerHex(text.substr(3, 32)) || !IsLowerHex(text.substr(36, 16))) return {};
  // A later version may append fields; version 00 has none.
  if (text.size() > kSize && (version == "00" || text[kSize] != '-')) return {};
  SpanContext context;
  ParseHex(text.substr(3, 32), context.trace_id);
  ParseHex(text.substr(36, 16), context.span_id);
  if (!context.valid()) return {};
  uint8_t bits = 0;
  ParseHex(flags, std::span(&bits, 1));
  context.sampled = (bits & 1) != 0;
  context.trace_state = CheckedTraceState(tracestate);
  return context;
}

std::string FormatTraceparent(const SpanContext& context) {
  if (!context.valid()) return {};
  std::string text;
  text.reserve(55);
  text.append("00-").append(Hex(context.trace_id)).append("-").append(Hex(context.span_id));
  return text.append(context.sampled ? "-01" : "-00");
}

}  // namespace weft::telemetry
