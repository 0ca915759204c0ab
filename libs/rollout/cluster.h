// A rollout's hands and eyes in a cluster.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "libs/kube/client.h"
#include "libs/rollout/plan.h"

namespace weft::rollout {

// One workload: "NAME" or "deployment/NAME", or "statefulset/NAME". Not thread safe. Calls block;
// errors are the client's, and FAILED_PRECONDITION where the cluster is not as a rollout needs it.
class Cluster {
 public:
  // INVALID_ARGUMENT for another kind.
  static absl::StatusOr<Cluster> Open(const kube::Client& client, std::string_view target);

  // What a new rollout is planned from: container (the first), image, replicas, hash, Services.
  absl::StatusOr<Plan> Survey() const;
  // NOT_FOUND: the workload has no rollout.
  absl::StatusOr<State> Load() const;
  // FAILED_PRECONDITION when another one has begun or taken over a rollout since; `taking_over`
  // does not mind.
  absl::Status Save(const State& state, bool taking_over = false) const;

  // Makes the cluster look like that; does nothing where it does already.
  absl::Status Apply(const State& state) const;
  // Everything but the metrics.
  absl::StatusOr<Observation> Observe(const State& state, int64_t now) const;
  // Removes what a smoke test left.
  absl::Status CleanUp() const;

  // For QueriesFor: names of the pods that have the new version, or the old one.
  std::string NewPods(const State& state) const;
  std::string OldPods(const State& state) const;
  absl::StatusOr<bool> IsWorker() const;
  const std::string& name() const { return name_; }
  const std::string& name_space() const { return client_->name_space(); }

 private:
  Cluster(const kube::Client& client, bool stateful, std::string name)
      : client_(&client), stateful_(stateful), name_(std::move(name)) {}

  std::string Core(std::string_view rest) const;  // paths in the namespace
  std::string Apps(std::string_view rest) const;
  std::string Self() const;
  absl::StatusOr<nlohmann::json> Get() const;
  absl::StatusOr<std::string> HashOf(const nlohmann::json& deployment, const std::string& image,
                                     const std::string& container) const;
  absl::Status Pin(const State& state, const std::string& hash) const;
  absl::Status ApplyNext(const State& state, int replicas) const;
  absl::Status Smoke(const State& state, const nlohmann::json& pods, Observation& seen) const;

  const kube::Client* client_;
  const bool stateful_;
  const std::string name_;
};

}  // namespace weft::rollout
