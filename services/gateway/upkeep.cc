#include "services/gateway/upkeep.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/store/upkeep.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway.upkeep");

void Warn(std::string_view what, const absl::Status& status) {
  if (!status.ok()) kLog.Warning(what, {{"exception", status}});
}

}  // namespace

Upkeep::Upkeep(std::shared_ptr<store::Database> database, UpkeepOptions options,
               std::function<ServedTotals()> served, Clock& clock)
    : database_(std::move(database)),
      options_(std::move(options)),
      served_(std::move(served)),
      clock_(clock),
      sampler_(options_.gateway, options_.folder),
      thread_([this] { Run(); }) {}

Upkeep::~Upkeep() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

absl::Status Upkeep::Prune() {
  WEFT_ASSIGN_OR_RETURN(const bool mine, store::TakeTurn(*database_, "retention", clock_.Wall(),
                                                         options_.retention.interval));
  if (!mine) return absl::OkStatus();
  WEFT_ASSIGN_OR_RETURN(const Pruned pruned,
                        PruneAll(*database_, options_.retention, options_.prompt_days,
                                 clock_.Wall(), options_.audit_key));
  if (pruned.all() > 0) {
    kLog.Info("removed old rows", {{"usage", pruned.usage},
                                   {"audit", pruned.audit},
                                   {"prompts", pruned.prompts},
                                   {"system_metrics", pruned.metrics}});
  }
  return absl::OkStatus();
}

absl::Status Upkeep::Measure() {
  const WallTime now = clock_.Wall();
  const auto own = sampler_.Sample(served_(), clock_.Now(), now);
  // A little less than an interval: gateways whose clocks differ do not leave one out.
  WEFT_ASSIGN_OR_RETURN(const bool tenants, store::TakeTurn(*database_, "system_metrics", now,
                                                            options_.metrics_interval * 9 / 10));
  return database_->Write(store::Scope::System(), [&](store::Session& session) -> absl::Status {
    WEFT_RETURN_IF_ERROR(store::AddSystemMetrics(session, own));
    if (!tenants) return absl::OkStatus();
    WEFT_ASSIGN_OR_RETURN(const auto theirs, SampleTenants(session, now));
    return store::AddSystemMetrics(session, theirs);
  });
}

void Upkeep::Run() {
  const bool measures = options_.metrics_interval.count() > 0;
  // Turns are asked for more often than they come, so that a gateway that went is soon replaced.
  const auto look = std::clamp<std::chrono::milliseconds>(
      options_.retention.interval / 4, std::chrono::milliseconds(250), std::chrono::minutes(1));
  SteadyTime next_prune = clock_.Now(), next_measure = clock_.Now();
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    if (clock_.Now() >= next_prune) {
      next_prune = clock_.Now() + look;
      Warn("old rows could not be removed", Prune());
    }
    if (measures && clock_.Now() >= next_measure) {
      next_measure = clock_.Now() + options_.metrics_interval;
      Warn("system_metrics could not be written", Measure());
    }
    lock.lock();
    const SteadyTime next = measures ? std::min(next_prune, next_measure) : next_prune;
    stopped_.wait_for(lock, std::max<SteadyTime::duration>(next - clock_.Now(), {}),
                      [this] { return stop_; });
  }
}

}  // namespace weft::gateway
