// A rollout of a new image as a state machine without a cluster: what the cluster should look like
// in a state (Want), and which state follows from what was seen (Advance). Both are pure, so that a
// rollout that was interrupted goes on from its state alone.
//
//   rolling:     scaling -> baking -> done
//   blue-green:  scaling -> smoking -> baking -> promoting -> finishing -> cleaning -> done
//   canary:      (scaling -> baking) for each share -> promoting -> finishing -> cleaning -> done
//   all:         … -> reverting -> removing -> reverted
//
// Blue-green and canary run the new version in a second workload, NAME-next, whose pods carry the
// same labels; Services are pointed at one version by the label that Kubernetes itself gives the
// pods of one template (pod-template-hash), here called a pin. The old pods are not touched before
// the new ones have proved themselves, so that going back is a change of selectors.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft::rollout {

enum class Strategy { kRolling, kBlueGreen, kCanary };

enum class Phase {
  kScaling,
  kSmoking,
  kBaking,
  kPromoting,  // the workload itself gets the new image, while NAME-next serves
  kFinishing,  // both serve
  kCleaning,   // NAME-next goes
  kDone,
  kReverting,  // the workload has the old image and gets ready
  kRemoving,   // only the old pods serve; NAME-next goes
  kReverted,
};

std::string_view Name(Strategy strategy);
std::string_view Name(Phase phase);

// What a version was seen to do, over a window. A value that is not known has no requests behind
// it.
struct Metrics {
  double requests = 0;
  std::optional<double> error_ratio = {};        // 0 to 1
  std::optional<double> ttft_seconds = {};       // 95th percentile
  std::optional<double> tokens_per_second = {};  // of one pod
};

struct Limits {
  double error_percent = 5;       // of requests
  double ttft_seconds = 10;       // 95th percentile
  double ttft_ratio = 2;          // to the version before
  double throughput_ratio = 0.5;  // tokens of one pod, to the version before
  double least_requests = 20;     // fewer are not judged by
};

struct Plan {
  Strategy strategy = Strategy::kRolling;
  std::string container, old_image, new_image;
  std::vector<int> shares = {10, 25, 50, 100};  // per cent; canary
  int64_t bake_s = 300;                         // for each share
  int64_t ready_s = 600;                        // for pods to get ready
  int64_t settle_s = 10;                        // for addresses to spread
  int64_t patience_s = 60;                      // without an answer from Prometheus
  int replicas = 1;                             // of the workload, when it began
  bool measured = true;                         // by Prometheus
  bool idle_ok = false;  // too few requests to judge by are no reason to go back
  Limits limits = {};
  std::string old_hash = {};               // pod-template-hash; empty for a StatefulSet
  std::vector<std::string> services = {};  // which choose the workload's pods
  std::string prometheus = {};
  std::optional<Metrics> baseline = {};  // of the version before, when it began

  // INVALID_ARGUMENT names the option.
  absl::Status Validate() const;
};

// What the cluster should look like.
struct Wanted {
  bool new_image = false;  // of the workload itself
  int next_replicas = 0;   // of NAME-next; 0: there is none
  std::string pin = {};    // of the Services; empty: both versions
  bool operator==(const Wanted&) const = default;
};

struct State {
  Plan plan = {};
  Phase phase = Phase::kScaling;
  size_t step = 0;            // of plan.shares
  int64_t since = 0;          // when the phase began; Unix seconds
  int64_t unready_since = 0;  // while baking; 0: ready
  std::string next_hash = {};
  std::string reason = {};  // why it went back
  std::string owner = {};   // who drives it
  Wanted held = {};         // how it stood when it turned back
};

struct Observation {
  int64_t now = 0;              // Unix seconds
  bool workload_ready = false;  // all of its pods are of its template, and serve
  bool next_present = false;
  bool next_ready = false;
  std::string next_hash = {};  // empty: not known yet
  std::string broken = {};     // a pod of the new version that cannot get better by itself
  std::optional<bool> smoke = {};
  std::string smoke_says = {};
  std::optional<Metrics> metrics = {};  // of the new version; nullopt: Prometheus does not answer
  std::optional<Metrics> before = {};   // of the old one, where both run
  int64_t blind_s = 0;                  // how long it has not answered
};

// Pods of NAME-next beside `replicas` old ones for that share (1 to 100 %) of the load: at least
// one, at most as many as there are old ones.
int NextReplicas(int replicas, int share);

// Why these numbers are not good enough; empty: they are, or there are too few requests to say.
std::string Judge(const Limits& limits, const Metrics& now, const std::optional<Metrics>& before);

Wanted Want(const State& state);
State Advance(State state, const Observation& seen);
// To the version before, for that reason.
State TurnBack(State state, std::string reason, int64_t now);

inline bool Ended(Phase phase) { return phase == Phase::kDone || phase == Phase::kReverted; }
inline bool GoingBack(Phase phase) {
  return phase == Phase::kReverting || phase == Phase::kRemoving || phase == Phase::kReverted;
}

// For people: "step 2 of 4: 3 pods of 12 (25 %) have the new version; watching for 300 s".
std::string Describe(const State& state);

nlohmann::json ToJson(const State& state);
// INVALID_ARGUMENT names the field.
absl::StatusOr<State> StateFromJson(std::string_view text);

}  // namespace weft::rollout
