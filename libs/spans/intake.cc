#include "libs/spans/intake.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::spans {
namespace {

constexpr std::chrono::milliseconds kRetryAfter{1000};

}  // namespace

Metrics::Metrics(telemetry::Registry& registry)
    : received(registry.CounterWith("weft_collector_spans_received_total", "Spans taken.",
                                    {"transport"})),
      refused(registry.CounterWith("weft_collector_spans_refused_total",
                                   "Spans sent away for lack of memory; clients send them again.",
                                   {"transport"})),
      rejected(registry.CounterWith("weft_collector_spans_rejected_total",
                                    "Spans that break OTLP's rules.", {"transport"})),
      shortened(registry.CounterOf("weft_collector_values_shortened_total",
                                   "Texts cut and attributes, events or links dropped.")),
      exported(registry.CounterWith("weft_collector_spans_exported_total",
                                    "Spans that a destination took.", {"exporter"})),
      failed(registry.CounterWith("weft_collector_spans_failed_total",
                                  "Spans given up: refused for good, out of time, at shutdown.",
                                  {"exporter"})),
      retries(registry.CounterWith("weft_collector_export_retries_total",
                                   "Batches that had to be sent again.", {"exporter"})) {}

Intake::Answer Intake::Take(Spans spans, const std::string& transport) {
  const size_t total = CountSpans(spans);
  // The whole request is counted before the check, which works on it in place.
  std::optional<MemoryLease> lease = memory_.TryAcquire(ApproximateBytes(spans));
  if (!lease) {
    metrics_.refused.With({transport}).Increment(static_cast<double>(total));
    return {WithRetryAfter(
        ResourceExhausted("the collector holds {} of {} bytes of spans; send again later",
                          memory_.used(), memory_.limit()),
        kRetryAfter)};
  }
  CheckResult checked = CheckSpans(spans, limits_);
  const size_t kept = total - checked.rejected;
  if (checked.shortened > 0) metrics_.shortened.Increment(static_cast<double>(checked.shortened));
  if (kept > 0) {
    Batch batch{std::move(spans), *std::move(lease)};
    if (absl::Status status = next_.Consume(batch); !status.ok()) {
      metrics_.refused.With({transport}).Increment(static_cast<double>(total));
      return {RetryAfterOf(status) ? std::move(status)
                                   : WithRetryAfter(std::move(status), kRetryAfter)};
    }
  }
  metrics_.received.With({transport}).Increment(static_cast<double>(kept));
  if (checked.rejected > 0) {
    metrics_.rejected.With({transport}).Increment(static_cast<double>(checked.rejected));
  }
  return {absl::OkStatus(), checked.rejected, std::move(checked.reason)};
}

}  // namespace weft::spans
