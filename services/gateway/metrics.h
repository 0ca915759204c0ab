// The gateway's metrics. Names, labels and buckets of the first two groups are fixed by the
// requirements; the rest is prefixed weft_.
#pragma once

#include <chrono>
#include <string_view>

#include "libs/telemetry/metrics.h"

namespace weft::gateway {

struct Metrics {
  explicit Metrics(telemetry::Registry& registry);

  telemetry::CounterFamily code_gen_requests;    // language, status
  telemetry::HistogramFamily code_gen_duration;  // language
  telemetry::HistogramFamily code_gen_tokens;    // language
  telemetry::Gauge active_requests;

  telemetry::CounterFamily http_requests;    // method, endpoint, status
  telemetry::HistogramFamily http_duration;  // method, endpoint
  telemetry::Gauge http_active;
  telemetry::Gauge http_per_second;
  telemetry::GaugeFamily model_info;           // model_id, version, framework, quantization
  telemetry::CounterFamily prediction_errors;  // model_id, error_type
  telemetry::HistogramFamily model_inference;  // model_id

  telemetry::CounterFamily tokens;                 // model, kind: prompt, cached, completion
  telemetry::HistogramFamily time_to_first_token;  // model
  telemetry::CounterFamily auth_failures;          // reason
  telemetry::Counter rate_limited;
  telemetry::CounterFamily scan_findings;  // kind, action
  telemetry::Counter prompts_sanitized;
  telemetry::Counter prompts_truncated;
  telemetry::CounterFamily scan_skipped;  // kind, mode: open, closed
  telemetry::CounterFamily cancelled;     // reason
};

// A language name as a label: lower case, "none" when empty, "other" unless it is well known.
std::string_view LanguageLabel(std::string_view language);

}  // namespace weft::gateway
