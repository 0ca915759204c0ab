// The scanner's metrics and spans.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "libs/scan/finding.h"
#include "libs/telemetry/metrics.h"
#include "libs/telemetry/tracer.h"

namespace weft::scan {
class RuleSet;
}

namespace weft::scanner {

// Thread safe. The registry and the tracer must outlive it.
class ScannerTelemetry {
 public:
  ScannerTelemetry(telemetry::Registry& registry, telemetry::Tracer& tracer,
                   const scan::RuleSet& rules);

  // ScanText and SanitizePrompt.
  void OnUnary(std::string_view method, scan::TextKind kind, uint64_t bytes,
               std::chrono::nanoseconds took, const absl::Status& status);
  void OnFrame(std::chrono::nanoseconds took, const absl::Status& status);
  void OnStreamText(scan::TextKind kind, uint64_t bytes);
  void OnStreamOpened(int64_t by) { open_streams_.Add(static_cast<double>(by)); }
  void OnStreamError(const absl::Status& status);
  void OnSession(int64_t by) { sessions_.Add(static_cast<double>(by)); }
  void OnFinding(const scan::Finding& finding);

  // A span of kind server for one text.
  telemetry::Span StartSpan(std::string_view name, std::string_view traceparent,
                            std::string_view request_id, scan::TextKind kind);
  static void EndSpan(telemetry::Span& span, uint64_t bytes, uint64_t findings,
                      const absl::Status& status);

 private:
  telemetry::Tracer& tracer_;
  telemetry::CounterFamily requests_;
  telemetry::HistogramFamily seconds_;
  telemetry::Histogram frame_seconds_;
  telemetry::CounterFamily bytes_;
  telemetry::CounterFamily findings_;
  telemetry::CounterFamily stream_errors_;
  telemetry::Gauge open_streams_;
  telemetry::Gauge sessions_;
};

}  // namespace weft::scanner
