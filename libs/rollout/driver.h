// Drives a rollout to its end, through outages of the API server.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

#include "libs/rollout/cluster.h"
#include "libs/rollout/plan.h"

namespace weft::rollout {

struct DriveOptions {
  std::chrono::milliseconds poll{5000};
  std::chrono::seconds patience{600};  // with an API server that does not answer
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(const std::string&)> say;
};

// From `state`, whose owner is the caller, to its end; the state that it ended in. Blocks. Errors
// leave the rollout as it stands in the workload's annotation: CANCELLED, UNAVAILABLE (for longer
// than `patience`), DEADLINE_EXCEEDED (the old version does not get ready either),
// FAILED_PRECONDITION (somebody else has taken it over), and what the API server refuses.
absl::StatusOr<State> Drive(const Cluster& cluster, State state, const DriveOptions& options);

// What Prometheus knows of the version that runs now, for the plan; nullopt: no answer.
std::optional<Metrics> Baseline(const Cluster& cluster, const State& state, bool worker,
                                const std::atomic<bool>* cancel);

}  // namespace weft::rollout
