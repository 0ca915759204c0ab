#include "libs/rollout/driver.h"

#include <algorithm>
#include <thread>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/rollout/measure.h"

namespace weft::rollout {
namespace {

int64_t Now() { return UnixSeconds(Clock::Real().Wall()); }

int64_t Window(const Plan& plan) { return std::clamp<int64_t>(plan.bake_s, 30, 120); }

bool WorthAnotherTry(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kAborted;
}

// Asks Prometheus while a version is watched, and keeps how long it has been silent.
class Gauge {
 public:
  Gauge(const Cluster& cluster, bool worker, const DriveOptions& options)
      : cluster_(cluster), worker_(worker), options_(options) {}

  void Read(const State& state, Observation& seen) {
    if (!state.plan.measured || state.phase != Phase::kBaking) {
      silent_since_ = 0;
      return;
    }
    const auto ask = [&](const std::string& pods) {
      return Ask(state.plan.prometheus,
                 QueriesFor(worker_, cluster_.name_space(), pods, Window(state.plan)),
                 options_.cancel);
    };
    const absl::StatusOr<Metrics> now = ask(cluster_.NewPods(state));
    if (!now.ok()) {
      if (silent_since_ == 0) {
        silent_since_ = seen.now;
        options_.say(fmt::format("{}; asking again", Message(now.status())));
      }
      seen.blind_s = seen.now - silent_since_;
      return;
    }
    silent_since_ = 0;
    seen.metrics = *now;
    if (state.plan.strategy == Strategy::kRolling) return;
    if (const absl::StatusOr<Metrics> old = ask(cluster_.OldPods(state)); old.ok())
      seen.before = *old;
  }

 private:
  const Cluster& cluster_;
  const bool worker_;
  const DriveOptions& options_;
  int64_t silent_since_ = 0;
};

absl::StatusOr<State> OneLook(const Cluster& cluster, const State& state, Gauge& gauge) {
  WEFT_RETURN_IF_ERROR(cluster.Apply(state));
  if (Ended(state.phase)) return state;
  WEFT_ASSIGN_OR_RETURN(Observation seen, cluster.Observe(state, Now()));
  gauge.Read(state, seen);
  State next = Advance(state, seen);
  if (next.phase != state.phase || next.step != state.step) {
    WEFT_RETURN_IF_ERROR(cluster.Save(next));
  }
  return next;
}

// False when it was cancelled meanwhile.
bool Wait(const DriveOptions& options) {
  const auto cancelled = [&] { return options.cancel != nullptr && options.cancel->load(); };
  const auto end = std::chrono::steady_clock::now() + options.poll;
  while (!cancelled() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(
        std::min<std::chrono::milliseconds>(options.poll, std::chrono::milliseconds(100)));
  }
  return !cancelled();
}

}  // namespace

absl::StatusOr<State> Drive(const Cluster& cluster, State state, const DriveOptions& options) {
  options.say(Describe(state));
  std::optional<Gauge> gauge;
  int64_t silent_since = 0;
  for (;;) {
    absl::StatusOr<State> next = [&]() -> absl::StatusOr<State> {
      if (!gauge) {
        WEFT_ASSIGN_OR_RETURN(const bool worker, cluster.IsWorker());
        gauge.emplace(cluster, worker, options);
      }
      return OneLook(cluster, state, *gauge);
    }();
    const int64_t now = Now();
    if (!next.ok()) {
      if (!WorthAnotherTry(next.status())) return next.status();
      if (silent_since == 0) {
        silent_since = now;
        options.say(fmt::format("{}; the rollout waits and goes on when it answers",
                                Message(next.status())));
      }
      if (now - silent_since > options.patience.count()) return next.status();
    } else {
      if (silent_since != 0) {
        options.say("the API server answers again");
        // Nobody watched meanwhile: the time does not count.
        if (state.phase == Phase::kBaking && next->phase == Phase::kBaking &&
            next->step == state.step) {
          next->since = now;
          options.say("watching from the beginning of this step again");
        }
        silent_since = 0;
      }
      if (next->phase != state.phase || next->step != state.step) options.say(Describe(*next));
      const bool ended = Ended(state.phase);
      state = *std::move(next);
      if (ended) break;
      if (Ended(state.phase)) continue;  // once more, to leave the cluster as the end wants it
      if (state.phase == Phase::kReverting && now - state.since > state.plan.ready_s) {
        return DeadlineExceeded(
            "{} does not get ready either; see its pods. The rollout goes back when "
            "`weftctl rollout resume` finds it ready",
            state.plan.old_image);
      }
    }
    if (!Wait(options)) return Cancelled("interrupted");
  }
  // The verdict stands; a Job left behind is deleted by Kubernetes ten minutes later.
  if (const absl::Status left = cluster.CleanUp(); !left.ok())
    options.say(std::string(Message(left)));
  return state;
}

std::optional<Metrics> Baseline(const Cluster& cluster, const State& state, bool worker,
                                const std::atomic<bool>* cancel) {
  const absl::StatusOr<Metrics> found = Ask(
      state.plan.prometheus,
      QueriesFor(worker, cluster.name_space(), cluster.OldPods(state), Window(state.plan)), cancel);
  return found.ok() ? std::optional(*found) : std::nullopt;
}

}  // namespace weft::rollout
