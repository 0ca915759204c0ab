// What a finished span holds, and who takes it.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "libs/base/clock.h"
#include "libs/telemetry/trace_context.h"

namespace weft::telemetry {

// The numbers are OTLP's.
enum class SpanKind { kInternal = 1, kServer = 2, kClient = 3, kProducer = 4, kConsumer = 5 };
enum class SpanStatus { kUnset = 0, kOk = 1, kError = 2 };

using AttributeValue = std::variant<std::string, int64_t, double, bool, std::vector<std::string>>;
using Attributes = std::vector<std::pair<std::string, AttributeValue>>;

struct SpanEvent {
  std::string name;
  WallTime time;
  Attributes attributes;
};

struct SpanData {
  SpanContext context;
  SpanId parent = {};  // all zeros: a root
  std::string name;
  SpanKind kind = SpanKind::kInternal;
  WallTime start;
  WallTime end;
  Attributes attributes;
  std::vector<SpanEvent> events;
  SpanStatus status = SpanStatus::kUnset;
  std::string status_message;
  uint32_t dropped_attributes = 0;
  uint32_t dropped_events = 0;
};

// Called from the tracer's one thread.
class SpanExporter {
 public:
  virtual ~SpanExporter() = default;
  // Blocks for at most `timeout`. UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED and DEADLINE_EXCEEDED
  // are tried again with the same spans; another error drops them.
  virtual absl::Status Export(const std::vector<SpanData>& spans,
                              std::chrono::nanoseconds timeout) = 0;
};

}  // namespace weft::telemetry
