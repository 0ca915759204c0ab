#include "libs/rollout/plan.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft::rollout {
namespace {

constexpr int64_t kUnreadyLimit =
    30;  // seconds that a version may be short of a pod while it is watched

State Enter(State state, Phase phase, int64_t now) {
  state.phase = phase;
  state.since = now;
  state.unready_since = 0;
  return state;
}

bool NewVersionReady(const State& state, const Observation& seen) {
  if (state.plan.strategy == Strategy::kRolling) return seen.workload_ready;
  return seen.next_ready && !seen.next_hash.empty();
}

State AfterBake(State state, const Observation& seen) {
  if (state.plan.measured && !state.plan.idle_ok) {
    const double requests = seen.metrics ? seen.metrics->requests : 0;
    if (requests < state.plan.limits.least_requests) {
      return TurnBack(std::move(state),
                      fmt::format("{:.0f} requests are too few to judge by; {:.0f} are needed",
                                  requests, state.plan.limits.least_requests),
                      seen.now);
    }
  }
  if (state.plan.strategy == Strategy::kRolling)
    return Enter(std::move(state), Phase::kDone, seen.now);
  if (state.plan.strategy == Strategy::kCanary && state.step + 1 < state.plan.shares.size()) {
    ++state.step;
    return Enter(std::move(state), Phase::kScaling, seen.now);
  }
  return Enter(std::move(state), Phase::kPromoting, seen.now);
}

State WhileBaking(State state, const Observation& seen) {
  if (NewVersionReady(state, seen)) {
    state.unready_since = 0;
  } else if (state.unready_since == 0) {
    state.unready_since = seen.now;
  } else if (seen.now - state.unready_since > kUnreadyLimit) {
    return TurnBack(std::move(state),
                    fmt::format("not all pods were ready for {} s", kUnreadyLimit), seen.now);
  }
  if (state.plan.measured) {
    if (seen.metrics) {
      std::string bad =
          Judge(state.plan.limits, *seen.metrics,
                seen.before && seen.before->requests >= state.plan.limits.least_requests
                    ? seen.before
                    : state.plan.baseline);
      if (!bad.empty()) return TurnBack(std::move(state), std::move(bad), seen.now);
    } else if (seen.blind_s > state.plan.patience_s) {
      return TurnBack(std::move(state),
                      fmt::format("Prometheus has not answered for {} s", seen.blind_s), seen.now);
    }
  }
  const bool watched = !state.plan.measured || seen.metrics.has_value();
  if (watched && state.unready_since == 0 && seen.now - state.since >= state.plan.bake_s) {
    return AfterBake(std::move(state), seen);
  }
  return state;
}

}  // namespace

int NextReplicas(int replicas, int share) {
  if (share >= 100) return replicas;
  const int wanted = (replicas * share + (100 - share) - 1) / (100 - share);
  return std::clamp(wanted, 1, std::max(1, replicas));
}

std::string Judge(const Limits& limits, const Metrics& now, const std::optional<Metrics>& before) {
  if (now.requests < limits.least_requests) return "";
  if (now.error_ratio && 100 * *now.error_ratio > limits.error_percent) {
    return fmt::format("{:.2f} % of {:.0f} requests failed; {:.2f} % are allowed",
                       100 * *now.error_ratio, now.requests, limits.error_percent);
  }
  if (now.ttft_seconds && *now.ttft_seconds > limits.ttft_seconds) {
    return fmt::format("the first token takes {:.2f} s (95th percentile); {:.2f} s are allowed",
                       *now.ttft_seconds, limits.ttft_seconds);
  }
  if (!before || before->requests < limits.least_requests) return "";
  if (now.ttft_seconds && before->ttft_seconds && *before->ttft_seconds > 0 &&
      *now.ttft_seconds > limits.ttft_ratio * *before->ttft_seconds) {
    return fmt::format(
        "the first token takes {:.2f} s (95th percentile), {:.2f} s in the version before; {:.2f} "
        "times as long is allowed",
        *now.ttft_seconds, *before->ttft_seconds, limits.ttft_ratio);
  }
  if (now.tokens_per_second && before->tokens_per_second && *before->tokens_per_second > 0 &&
      *now.tokens_per_second < limits.throughput_ratio * *before->tokens_per_second) {
    return fmt::format(
        "a pod gives {:.1f} tokens a second, {:.1f} in the version before; {:.2f} of that is "
        "needed",
        *now.tokens_per_second, *before->tokens_per_second, limits.throughput_ratio);
  }
  return "";
}

State TurnBack(State state, std::string reason, int64_t now) {
  if (Ended(state.phase) || GoingBack(state.phase)) return state;
  state.held = Want(state);
  state.held.new_image = false;
  state.reason = std::move(reason);
  return Enter(std::move(state), Phase::kReverting, now);
}

Wanted Want(const State& state) {
  const Plan& plan = state.plan;
  const bool rolling = plan.strategy == Strategy::kRolling;
  switch (state.phase) {
    case Phase::kScaling:
    case Phase::kSmoking:
    case Phase::kBaking: {
      if (rolling) return {.new_image = true};
      if (plan.strategy == Strategy::kBlueGreen) {
        return {.next_replicas = plan.replicas,
                .pin = state.phase == Phase::kBaking ? state.next_hash : plan.old_hash};
      }
      const int share = plan.shares[state.step];
      const bool all = share == 100 && state.phase == Phase::kBaking;
      return {.next_replicas = NextReplicas(plan.replicas, share),
              .pin = all ? state.next_hash : ""};
    }
    case Phase::kPromoting:
      return {.new_image = true, .next_replicas = plan.replicas, .pin = state.next_hash};
    case Phase::kFinishing:
      return {.new_image = true, .next_replicas = plan.replicas};
    case Phase::kCleaning:
    case Phase::kDone:
      return {.new_image = true};
    case Phase::kReverting:
      return state.held;
    case Phase::kRemoving:
      return {.pin = plan.old_hash};
    case Phase::kReverted:
      return {};
  }
  return {};
}

State Advance(State state, const Observation& seen) {
  if (Ended(state.phase)) return state;
  if (!seen.next_hash.empty()) state.next_hash = seen.next_hash;
  if (!GoingBack(state.phase) && !seen.broken.empty()) {
    return TurnBack(std::move(state), seen.broken, seen.now);
  }
  const bool late = seen.now - state.since > state.plan.ready_s;
  const auto too_late = [&](std::string_view what) {
    return TurnBack(state, fmt::format("{} within {} s", what, state.plan.ready_s), seen.now);
  };
  switch (state.phase) {
    case Phase::kScaling:
      if (NewVersionReady(state, seen)) {
        return Enter(state,
                     state.plan.strategy == Strategy::kBlueGreen ? Phase::kSmoking : Phase::kBaking,
                     seen.now);
      }
      return late ? too_late("its pods did not get ready") : state;
    case Phase::kSmoking:
      if (seen.smoke == true) return Enter(state, Phase::kBaking, seen.now);
      if (seen.smoke == false) {
        return TurnBack(state, "the smoke test failed: " + seen.smoke_says, seen.now);
      }
      return late ? too_late("the smoke test did not end") : state;
    case Phase::kBaking:
      return WhileBaking(std::move(state), seen);
    case Phase::kPromoting:
      if (seen.workload_ready) return Enter(state, Phase::kFinishing, seen.now);
      return late ? too_late("the workload's own pods did not get ready") : state;
    case Phase::kFinishing:
      if (seen.now - state.since >= state.plan.settle_s)
        return Enter(state, Phase::kCleaning, seen.now);
      return state;
    case Phase::kCleaning:
      return seen.next_present ? state : Enter(state, Phase::kDone, seen.now);
    case Phase::kReverting:
      if (!seen.workload_ready) return state;
      return Enter(state,
                   state.plan.strategy == Strategy::kRolling ? Phase::kReverted : Phase::kRemoving,
                   seen.now);
    case Phase::kRemoving:
      return seen.next_present ? state : Enter(state, Phase::kReverted, seen.now);
    case Phase::kDone:
    case Phase::kReverted:
      return state;
  }
  return state;
}

absl::Status Plan::Validate() const {
  if (new_image.empty()) return InvalidArgument("--image: give the new version's image");
  if (new_image == old_image) {
    return FailedPrecondition("container {} runs {} already", container, new_image);
  }
  if (replicas < 1) return FailedPrecondition("the workload has no replicas");
  if (replicas > 100'000) return FailedPrecondition("the workload has {} replicas", replicas);
  if (shares.empty() || shares.size() > 20) return InvalidArgument("--steps: from 1 to 20 shares");
  for (size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] < 1 || shares[i] > 100 || (i > 0 && shares[i] <= shares[i - 1])) {
      return InvalidArgument("--steps: shares rise from 1 to 100 %, and {} does not", shares[i]);
    }
  }
  if (shares.back() != 100)
    return InvalidArgument("--steps: the last share is 100 %, not {}", shares.back());
  for (const auto& [option, value] :
       {std::pair{"--bake", bake_s}, std::pair{"--ready", ready_s}, std::pair{"--settle", settle_s},
        std::pair{"patience", patience_s}}) {
    if (value < 0 || value > 86'400)
      return InvalidArgument("{}: {} s; from 0 to 86400", option, value);
  }
  if (strategy != Strategy::kRolling && old_hash.empty()) {
    return FailedPrecondition("{} needs a Deployment; a StatefulSet can only roll", Name(strategy));
  }
  if (strategy != Strategy::kRolling && services.empty()) {
    return FailedPrecondition("no Service chooses the workload's pods; {} moves one",
                              Name(strategy));
  }
  return absl::OkStatus();
}

}  // namespace weft::rollout
