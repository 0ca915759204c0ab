#include "services/worker/server.h"

#include <grpc/grpc.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/config/address.h"
#include "libs/config/cli.h"
#include "libs/http/admin_server.h"
#include "libs/model/memory.h"
#include "libs/rpc/otlp_exporter.h"
#include "libs/rpc/server.h"
#include "libs/telemetry/log.h"
#include "libs/tokenizer/tokenizer.h"
#include "services/worker/end.h"
#include "services/worker/gpu_telemetry.h"
#include "services/worker/model_host.h"
#include "services/worker/session_hub.h"
#include "services/worker/worker_service.h"
#include "services/worker/worker_telemetry.h"

namespace weft::worker {
namespace {

using namespace std::chrono_literals;

const telemetry::Logger kLog("worker");

// How often a long load says how far it is.
constexpr std::chrono::seconds kTellProgress{2};

std::string DefaultWorkerId() {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  return fmt::format("{}-{}", host, getpid());
}

// Calls hub.Tick on a thread of its own, so that statistics flow also during a long step.
class Ticker {
 public:
  explicit Ticker(SessionHub& hub) : hub_(hub), thread_([this] { Run(); }) {}
  ~Ticker() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      lock.unlock();
      const SteadyTime next = std::min(hub_.Tick(), Clock::Real().Now() + kLongest);
      lock.lock();
      wake_.wait_until(lock, next, [this] { return stop_; });
    }
  }
  // Rows can begin to wait for a slow session at any time.
  static constexpr std::chrono::milliseconds kLongest{20};

  SessionHub& hub_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

// The test-only faults: does the prompt hold a text that brings one?
std::function<Fault(const v1::WorkItem&)> InjectedFault(
    const Config& config, const std::vector<std::unique_ptr<ModelHost>>& models) {
  if (config.fault_crash_text.empty() && config.fault_hang_text.empty()) return {};
  return [&config, &models](const v1::WorkItem& item) -> Fault {
    for (const auto& model : models) {
      if (model->info().id() != item.model()) continue;
      std::string prompt;
      for (const uint32_t id : item.prompt_ids()) {
        prompt += model->tokenizer().TokenBytes(static_cast<int32_t>(id));
      }
      const auto holds = [&](const std::string& text) {
        return !text.empty() && prompt.find(text) != std::string::npos;
      };
      if (holds(config.fault_crash_text)) {
        return {Fault::Kind::kCrash, config.fault_crash_after_tokens};
      }
      if (holds(config.fault_hang_text)) {
        return {Fault::Kind::kHang, config.fault_hang_after_tokens};
      }
    }
    return {};
  };
}

// Whether every engine moves. One thread (the admin server's) asks.
class Health {
 public:
  Health(const std::vector<std::unique_ptr<ModelHost>>& models, std::chrono::nanoseconds limit)
      : models_(models), watchdogs_(models.size(), engine::ProgressWatchdog(limit)) {}
  bool Ok(std::string* detail) {
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < models_.size(); ++i) {
      if (!watchdogs_[i].Hangs(models_[i]->progress(), Clock::Real().Now())) continue;
      *detail = fmt::format("the engine of {} has work and does not move", models_[i]->info().id());
      return false;
    }
    return true;
  }

 private:
  const std::vector<std::unique_ptr<ModelHost>>& models_;
  std::mutex mutex_;
  std::vector<engine::ProgressWatchdog> watchdogs_;
};

absl::StatusOr<std::vector<std::unique_ptr<ModelHost>>> LoadModels(const Config& config,
                                                                   const ShutdownSignal& signal) {
  if (config.AllModels().empty()) {
    return InvalidArgument("worker.model: give the path of a GGUF file or a Hugging Face folder");
  }
  std::vector<std::unique_ptr<ModelHost>> models;
  const auto stopped = [&] { return signal.triggered(); };
  for (const ModelEntry& entry : config.AllModels()) {
    kLog.Info("loading", {{"path", entry.path}});
    const SteadyTime begin = Clock::Real().Now();
    SteadyTime told = begin;
    const auto tell = [&](const LoadProgress& progress) {
      const SteadyTime now = Clock::Real().Now();
      if (now - told < kTellProgress) return;
      told = now;
      const std::chrono::duration<double> seconds = now - begin;
      kLog.Info("loading",
                {{"path", entry.path},
                 {"percent", static_cast<int>(progress.fraction() * 100)},
                 {"bytes", progress.bytes},
                 {"bytes_per_second", static_cast<double>(progress.bytes) / seconds.count()}});
    };
    auto loaded = ModelHost::Load(entry, config, tell, stopped);
    if (!loaded.ok()) return Annotate(loaded.status(), entry.path);
    for (const auto& other : models) {
      if (other->info().id() == (*loaded)->info().id()) {
        return InvalidArgument("worker.models: two models are called {}", other->info().id());
      }
    }
    models.push_back(*std::move(loaded));
    const v1::ModelInfo& info = models.back()->info();
    kLog.Info("loaded", {{"model", info.id()},
                         {"version", info.version()},
                         {"numerics", info.numerics_class()},
                         {"isa", models.back()->isa()},
                         {"threads", models.back()->threads()},
                         {"memory_bytes", info.memory_bytes()},
                         {"kv_blocks", models.back()->kv_blocks()},
                         {"weights_from", models.back()->weights_from()},
                         {"bytes_per_second", models.back()->load_bytes_per_second()},
                         {"load_ms", Clock::Real().Now() - begin}});
    if (const absl::Status& problem = models.back()->cache_problem(); !problem.ok()) {
      kLog.Warning("repack cache not used", {{"model", info.id()}, {"error", ToString(problem)}});
    }
  }
  return models;
}

// The figures of each GPU that models are on, where the driver's library gives any.
std::vector<std::unique_ptr<GpuTelemetry>> WatchGpus(
    telemetry::Registry& metrics, const std::vector<std::unique_ptr<ModelHost>>& models) {
  std::set<std::string> gpus;
  for (const auto& model : models) {
    if (!model->pci_bus_id().empty()) gpus.insert(model->pci_bus_id());
  }
  std::vector<std::unique_ptr<GpuTelemetry>> watched;
  for (const std::string& gpu : gpus) {
    auto nvml = Nvml::Open();
    if (nvml.ok()) {
      watched.push_back(std::make_unique<GpuTelemetry>(metrics, *std::move(nvml), gpu));
    } else {
      kLog.Warning("no figures of the GPU", {{"gpu", gpu}, {"error", ToString(nvml.status())}});
    }
  }
  return watched;
}

}  // namespace

absl::Status Run(const Config& config, const telemetry::Config& telemetry_config) {
  // One reference that is never given back: gRPC's own shutdown can wait ten seconds for its
  // executor, and a process that ends needs none of it.
  grpc_init();
  ShutdownSignal signal;
  const std::string worker_id = config.worker_id.empty() ? DefaultWorkerId() : config.worker_id;
  WEFT_ASSIGN_OR_RETURN(const auto telemetry,
                        rpc::StartTelemetry(telemetry_config, "weft-worker", worker_id));

  // The admin port answers while models load; readiness comes with the listening socket.
  std::atomic<bool> ready{false};
  std::atomic<Health*> health{nullptr};
  http::AdminCallbacks callbacks;
  callbacks.metrics = [&] { return telemetry->metrics().Expose(); };
  callbacks.healthy = [&](std::string* detail) {
    Health* h = health.load();
    return h == nullptr || h->Ok(detail);
  };
  callbacks.ready = [&](std::string* detail) {
    if (!ready) *detail = "loading or draining";
    return ready.load();
  };
  WEFT_ASSIGN_OR_RETURN(const auto admin_address,
                        config::ParseHostPort("worker.admin_listen", config.admin_listen));
  WEFT_ASSIGN_OR_RETURN(
      auto admin,
      http::AdminServer::Start({admin_address.host, admin_address.port}, std::move(callbacks)));

  WEFT_ASSIGN_OR_RETURN(const auto models, LoadModels(config, signal));
  Health watch(models, config.hang_timeout);
  WorkerTelemetry worker_telemetry(telemetry->metrics(), telemetry->tracer(), worker_id, models);
  const auto gpus = WatchGpus(telemetry->metrics(), models);

  HubOptions options;
  options.lease = config.lease;
  options.fault = InjectedFault(config, models);
  std::vector<EnginePort*> engines;
  engines.reserve(models.size());
  for (const auto& model : models) engines.push_back(model.get());
  SessionHub hub(worker_id, engines, options,
                 [&](const ItemRecord& item, const engine::StepFinish& finish) {
                   worker_telemetry.OnFinish(item, finish);
                 });
  for (size_t i = 0; i < models.size(); ++i) {
    models[i]->Start([&, i](const engine::StepOutput& output) {
      if (!output.model_gone.ok()) End(models[i]->info().id(), output.model_gone);
      hub.OnStep(i, output);
      worker_telemetry.OnStep(i, output);
    });
  }
  auto ticker = std::make_unique<Ticker>(hub);
  WorkerService service(worker_id, hub, models);
  auto server =
      rpc::Server::Start(config.server, {{&service, v1::WorkerService::service_full_name()}});
  absl::Status result = server.status();
  if (server.ok()) {
    (*server)->SetServing(true);
    health = &watch;
    ready = true;
    for (const std::string& address : (*server)->addresses()) {
      kLog.Info("listening", {{"address", address}, {"admin_port", admin->port()}});
    }
    signal.Wait();
    kLog.Info("draining", {{"sequences", hub.items()}});
    ready = false;
    (*server)->SetServing(false);
    hub.BeginDrain();
    const SteadyTime until = Clock::Real().Now() + config.server.drain_timeout;
    while (hub.items() > 0 && Clock::Real().Now() < until) std::this_thread::sleep_for(10ms);
    service.CloseAll();
    (*server)->Drain(2s);
    server->reset();
  }
  // The engines end before what their sinks use.
  for (const auto& model : models) model->Stop();
  ticker.reset();
  health = nullptr;
  admin.reset();
  kLog.Info("stopped");
  telemetry->Shutdown(2s);
  return result;
}

}  // namespace weft::worker
