// The first stage: what receivers call with the spans of one request.
#pragma once

#include <string>

#include "libs/spans/check.h"
#include "libs/spans/memory_limiter.h"
#include "libs/spans/stage.h"
#include "libs/telemetry/metrics.h"

namespace weft::spans {

// Counters of the whole collector.
struct Metrics {
  explicit Metrics(telemetry::Registry& registry);
  telemetry::CounterFamily received;  // {transport}: spans that were taken
  telemetry::CounterFamily refused;   // {transport}: spans sent away with "try again"
  telemetry::CounterFamily rejected;  // {transport}: spans that are no spans
  telemetry::Counter shortened;       // texts cut and attributes dropped
  telemetry::CounterFamily exported;  // {exporter}
  telemetry::CounterFamily failed;    // {exporter}: spans given up
  telemetry::CounterFamily retries;   // {exporter}
};

// Thread safe.
class Intake {
 public:
  Intake(Stage& next, MemoryLimiter& memory, const Limits& limits, Metrics& metrics)
      : next_(next), memory_(memory), limits_(limits), metrics_(metrics) {}

  struct Answer {
    absl::Status status;      // RESOURCE_EXHAUSTED with RetryAfterOf: send all of it again later
    size_t rejected = 0;      // of an accepted request: spans that must not be sent again
    std::string reason = {};  // why
  };
  Answer Take(Spans spans, const std::string& transport);

 private:
  Stage& next_;
  MemoryLimiter& memory_;
  const Limits limits_;
  Metrics& metrics_;
};

}  // namespace weft::spans
