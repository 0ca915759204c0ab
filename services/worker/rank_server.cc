#include "services/worker/rank_server.h"

#include <grpc/grpc.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "libs/base/clock.h"
#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/config/address.h"
#include "libs/http/admin_server.h"
#include "libs/model/model_source.h"
#include "libs/model/process_model.h"
#include "libs/rpc/otlp_exporter.h"
#include "libs/telemetry/log.h"
#include "services/worker/rank_groups.h"

namespace weft::worker {
namespace {

using namespace std::chrono_literals;

const telemetry::Logger kLog("worker");

// Ends the group when SIGTERM came and rank 0 has not ended within the time.
class Patience {
 public:
  Patience(ShutdownSignal& signal, FollowingRank& rank, std::chrono::nanoseconds limit)
      : thread_([this, &signal, &rank, limit] {
          while (!Over(0s)) {
            if (!signal.WaitFor(100ms)) continue;
            kLog.Info("draining", {{"until", "rank 0 ends"}});
            if (!Over(limit)) rank.Abort(Unavailable("it was stopped"));
            return;
          }
        }) {}
  ~Patience() {
    {
      std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  bool Over(std::chrono::nanoseconds wait) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, wait, [this] { return over_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace

absl::Status RunRank(const Config& config, const telemetry::Config& telemetry_config) {
  grpc_init();  // as in Run
  ShutdownSignal signal;
  const std::string name = fmt::format("rank-{}", config.rank);
  WEFT_ASSIGN_OR_RETURN(const auto telemetry,
                        rpc::StartTelemetry(telemetry_config, "weft-worker", name));
  std::atomic<bool> ready{false};
  http::AdminCallbacks callbacks;
  callbacks.metrics = [&] { return telemetry->metrics().Expose(); };
  callbacks.healthy = [](std::string*) { return true; };  // a group that is gone ends the process
  callbacks.ready = [&](std::string* detail) {
    if (!ready) *detail = "loading, or waiting for the other ranks";
    return ready.load();
  };
  WEFT_ASSIGN_OR_RETURN(const auto address,
                        config::ParseHostPort("worker.admin_listen", config.admin_listen));
  WEFT_ASSIGN_OR_RETURN(
      auto admin, http::AdminServer::Start({address.host, address.port}, std::move(callbacks)));

  const ModelEntry entry = config.AllModels().front();
  kLog.Info("loading", {{"path", entry.path}, {"rank", config.rank}});
  const SteadyTime begin = Clock::Real().Now();
  WEFT_ASSIGN_OR_RETURN(const ModelSource source, ModelSource::Open(entry.path));
  ModelOptions options;
  options.isa = config.isa;
  options.threads = config.threads;
  options.kv_type = config.kv_type;
  auto rank = FollowingRank::Load(source, options,
                                  RankOptions(config, source, [&] { return signal.triggered(); }));
  if (!rank.ok()) return Annotate(rank.status(), entry.path);
  kLog.Info("joined", {{"rank", config.rank},
                       {"ranks", config.parallel.ranks()},
                       {"admin_port", admin->port()},
                       {"load_ms", Clock::Real().Now() - begin}});
  ready = true;
  absl::Status result;
  {
    const Patience patience(signal, **rank, config.server.drain_timeout);
    result = (*rank)->Run();
  }
  ready = false;
  admin.reset();
  kLog.Info("stopped");
  telemetry->Shutdown(2s);
  return result;
}

}  // namespace weft::worker
