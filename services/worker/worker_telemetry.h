// Metrics under vLLM's names (with the prefix weft_), and the spans worker, prefill and decode.
#pragma once

#include <memory>
#include <vector>

#include "libs/telemetry/metrics.h"
#include "libs/telemetry/tracer.h"
#include "services/worker/model_host.h"

namespace weft::worker {

// Thread safe. `models` must outlive it.
class WorkerTelemetry {
 public:
  WorkerTelemetry(telemetry::Registry& metrics, telemetry::Tracer& tracer, std::string worker_id,
                  const std::vector<std::unique_ptr<ModelHost>>& models);
  ~WorkerTelemetry();

  void OnStep(size_t model, const engine::StepOutput& output);
  void OnFinish(const ItemRecord& item, const engine::StepFinish& finish);

 private:
  struct Series;

  telemetry::Registry& metrics_;
  telemetry::Tracer& tracer_;
  const std::string worker_id_;
  const std::vector<std::unique_ptr<ModelHost>>& models_;
  std::vector<std::unique_ptr<Series>> series_;  // per model
  std::vector<int> watches_;
};

}  // namespace weft::worker
