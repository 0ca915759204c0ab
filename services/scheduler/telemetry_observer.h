// Metrics, logs and spans of the scheduler.
#pragma once

#include <memory>

#include "libs/telemetry/metrics.h"
#include "libs/telemetry/tracer.h"
#include "services/scheduler/ports.h"

namespace weft::scheduler {

// Called on the dispatcher's thread. `metrics` and `tracer` must outlive it and its traces.
class TelemetryObserver final : public Observer {
 public:
  TelemetryObserver(telemetry::Registry& metrics, telemetry::Tracer& tracer);

  std::unique_ptr<RequestTrace> BeginRequest(const v1::Submit& submit) override;
  void RequestFinished(const RequestSummary& summary) override;
  void WorkerReady(std::string_view worker, const v1::WorkerWelcome& welcome) override;
  void WorkerLost(std::string_view worker, LossReason reason, std::string_view detail,
                  size_t moved) override;
  void Redispatched(std::string_view request_id, uint32_t attempt, size_t tokens,
                    bool same_numerics) override;
  void SuspectRunsAlone(std::string_view request_id) override;
  void StaleRows(size_t rows) override;
  void SetGauges(const Gauges& gauges) override;

 private:
  class Trace;

  telemetry::Tracer& tracer_;
  telemetry::CounterFamily requests_;
  telemetry::CounterFamily prompt_tokens_;
  telemetry::CounterFamily completion_tokens_;
  telemetry::HistogramFamily queue_seconds_;
  telemetry::HistogramFamily first_token_seconds_;
  telemetry::HistogramFamily request_seconds_;
  telemetry::CounterFamily losses_;
  telemetry::Counter redispatches_;
  telemetry::Counter recomputed_tokens_;
  telemetry::Counter numerics_changes_;
  telemetry::Counter suspects_;
  telemetry::Counter stale_rows_;
  telemetry::Gauge waiting_;
  telemetry::Gauge running_;
  telemetry::Gauge workers_;
  telemetry::Gauge gateways_;
};

}  // namespace weft::scheduler
