#include "services/scheduler/server.h"

#include <grpc/grpc.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/config/address.h"
#include "libs/config/cli.h"
#include "libs/http/admin_server.h"
#include "libs/rpc/otlp_exporter.h"
#include "libs/rpc/server.h"
#include "libs/telemetry/log.h"
#include "services/scheduler/dispatcher.h"
#include "services/scheduler/event_loop.h"
#include "services/scheduler/prompt_preparer.h"
#include "services/scheduler/scheduler_service.h"
#include "services/scheduler/telemetry_observer.h"
#include "services/scheduler/tokenizer_store.h"
#include "services/scheduler/worker_links.h"

namespace weft::scheduler {
namespace {

using namespace std::chrono_literals;

const telemetry::Logger kLog("scheduler");

// What may wait for the dispatcher. Frames are at most 32 MiB; beyond, gateways are told to come
// back and the frames of workers wait in their sockets.
constexpr size_t kLoopQueue = 65'536;
constexpr size_t kLoopBytes = size_t{256} << 20;

// The dispatcher's ports, with the answer to "may I write?" asked for at each pump.
class OutputPorts final : public GatewayPort, public WorkerPort {
 public:
  OutputPorts(SchedulerService& gateways, WorkerLinks& workers)
      : gateways_(gateways), workers_(workers) {}

  void Write(uint64_t session, v1::DeltaFrame frame) override {
    blocked_gateways_.insert(session);
    gateways_.Write(session, std::move(frame));
  }
  void Close(uint64_t session, int code, std::string message) override {
    gateways_.Close(session, code, std::move(message));
  }
  void Write(uint64_t link, v1::WorkFrame frame) override {
    blocked_workers_.insert(link);
    workers_.Write(link, std::move(frame));
  }
  void Break(uint64_t link, std::string_view why) override { workers_.Break(link, why); }

  // True when nobody is blocked afterwards.
  bool Unblock(Dispatcher& dispatcher) {
    std::erase_if(blocked_gateways_, [&](uint64_t id) {
      const bool writable = gateways_.Writable(id);
      if (writable) dispatcher.OnGatewayWritable(id);
      return writable;
    });
    std::erase_if(blocked_workers_, [&](uint64_t id) {
      const bool writable = workers_.Writable(id);
      if (writable) dispatcher.OnWorkerWritable(id);
      return writable;
    });
    return blocked_gateways_.empty() && blocked_workers_.empty();
  }

 private:
  SchedulerService& gateways_;
  WorkerLinks& workers_;
  std::set<uint64_t> blocked_gateways_;
  std::set<uint64_t> blocked_workers_;
};

// Members are made in order and destroyed in reverse; Stop() ends the threads before that.
class SchedulerProcess {
 public:
  SchedulerProcess(const Config& config, telemetry::Telemetry& telemetry)
      : config_(config),
        scheduler_id_(NewRequestId()),
        observer_(telemetry.metrics(), telemetry.tracer()),
        loop_(kLoopQueue, kLoopBytes, [this] { return Pump(); }),
        preparer_(store_, config.tokenizer_threads, config.tokenizer_queue,
                  [this](uint64_t request, Prepared prepared) {
                    PostSurely([this, request, prepared = std::move(prepared)]() mutable {
                      dispatcher_->OnPrepared(request, std::move(prepared));
                    });
                  }),
        links_(config, scheduler_id_, store_, Events()),
        service_(scheduler_id_, loop_, dispatcher_, store_, preparer_),
        ports_(service_, links_),
        dispatcher_(std::make_unique<Dispatcher>(
            config.Dispatching(), Dispatcher::Ports{&ports_, &ports_, &preparer_, &observer_},
            Clock::Real())) {}

  absl::Status Start() {
    loop_.Start();
    WEFT_ASSIGN_OR_RETURN(
        server_, rpc::Server::Start(config_.server,
                                    {{&service_, v1::SchedulerService::service_full_name()}}));
    WEFT_RETURN_IF_ERROR(links_.Start());
    server_->SetServing(true);
    for (const std::string& address : server_->addresses()) {
      kLog.Info("listening", {{"address", address}});
    }
    return absl::OkStatus();
  }

  bool Ready(std::string* detail) const {
    if (draining_)
      *detail = "draining";
    else if (!ready_)
      *detail = "no worker with a model and its tokenizer";
    return ready_ && !draining_;
  }
  // Progress, not "the port answers": the loop's pump runs ten times a second.
  bool Healthy(std::string* detail) const {
    const auto since = Clock::Real().Now().time_since_epoch().count() - last_pump_;
    if (since < std::chrono::nanoseconds(10s).count()) return true;
    *detail = "the event loop does not move";
    return false;
  }

  void Drain() {
    draining_ = true;
    server_->SetServing(false);
    PostSurely([this] { dispatcher_->BeginDrain(); });
    const SteadyTime until = Clock::Real().Now() + config_.server.drain_timeout;
    while (Clock::Real().Now() < until && !idle_) std::this_thread::sleep_for(10ms);
    // What is left goes on where its gateway takes it when the session ends.
    PostSurely([this] { dispatcher_->HandOver(); });
    for (int i = 0; i < 100 && !idle_; ++i) std::this_thread::sleep_for(10ms);
  }

  // Twice is legal.
  void Stop() {
    if (server_) {
      service_.CloseAll();
      server_->Drain(2s);
      server_.reset();
    }
    links_.Stop();
    stopping_ = true;  // what the tokenizer threads still post is for nobody
    loop_.Stop();
  }
  ~SchedulerProcess() { Stop(); }

 private:
  // For events that must not be lost: the queue is full for milliseconds at most.
  void PostSurely(EventLoop::Task task, size_t bytes = 0) {
    auto shared = std::make_shared<EventLoop::Task>(std::move(task));
    while (!loop_.Post([shared] { (*shared)(); }, bytes) && !stopping_) {
      std::this_thread::sleep_for(1ms);
    }
  }

  WorkerEvents Events() {
    WorkerEvents e;
    e.on_welcome = [this](uint64_t link, v1::WorkerWelcome welcome) {
      PostSurely([this, link, welcome = std::move(welcome)] {
        dispatcher_->OnWorkerWelcome(link, welcome);
      });
    };
    e.on_frame = [this](uint64_t link, v1::StepFrame frame) {
      const size_t bytes = frame.ByteSizeLong();
      PostSurely(
          [this, link, frame = std::move(frame)]() mutable {
            dispatcher_->OnStepFrame(link, std::move(frame));
          },
          bytes);
    };
    e.on_lost = [this](uint64_t link, const absl::Status& status) {
      PostSurely([this, link, detail = ToString(status)] {
        dispatcher_->OnWorkerLost(link, LossReason::kBroken, detail);
      });
    };
    e.on_tokenizer = [this](const std::string& sha256) {
      PostSurely([this, sha256] { dispatcher_->OnTokenizer(sha256); });
    };
    e.on_trouble = [](const std::string& address, const absl::Status& status) {
      kLog.Warning("no session with worker", {{"address", address}, {"exception", status}});
    };
    return e;
  }

  SteadyTime Pump() {
    ports_.Unblock(*dispatcher_);
    dispatcher_->Pump();
    const bool free = ports_.Unblock(*dispatcher_);
    bool tokenizer = false;
    for (const v1::ModelInfo& m : dispatcher_->Models()) tokenizer |= preparer_.HasTokenizer(m);
    ready_ = tokenizer;
    idle_ = dispatcher_->idle();
    const SteadyTime now = Clock::Real().Now();
    last_pump_ = now.time_since_epoch().count();
    SteadyTime wake = dispatcher_->NextWake();
    // Output that waits for a slow peer is tried again soon; output beyond one frame at once.
    if (!free)
      wake = std::min(wake, now + 2ms);
    else if (dispatcher_->HasOutput())
      wake = now;
    return wake;
  }

  const Config& config_;
  const std::string scheduler_id_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> idle_{false};
  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> last_pump_{Clock::Real().Now().time_since_epoch().count()};
  TelemetryObserver observer_;
  TokenizerStore store_;
  EventLoop loop_;
  PromptPreparer preparer_;
  WorkerLinks links_;
  SchedulerService service_;
  OutputPorts ports_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<rpc::Server> server_;
};

}  // namespace

absl::Status Run(const Config& config, const telemetry::Config& telemetry_config) {
  // One reference that is never given back: gRPC's own shutdown can wait ten seconds for its
  // executor, and a process that ends needs none of it.
  grpc_init();
  ShutdownSignal signal;
  WEFT_ASSIGN_OR_RETURN(const auto telemetry,
                        rpc::StartTelemetry(telemetry_config, "weft-scheduler"));
  auto process = std::make_unique<SchedulerProcess>(config, *telemetry);
  WEFT_RETURN_IF_ERROR(process->Start());

  WEFT_ASSIGN_OR_RETURN(const auto admin_address,
                        config::ParseHostPort("scheduler.admin_listen", config.admin_listen));
  http::AdminCallbacks callbacks;
  callbacks.metrics = [&] { return telemetry->metrics().Expose(); };
  callbacks.healthy = [&](std::string* detail) { return process->Healthy(detail); };
  callbacks.ready = [&](std::string* detail) { return process->Ready(detail); };
  WEFT_ASSIGN_OR_RETURN(
      auto admin,
      http::AdminServer::Start({admin_address.host, admin_address.port}, std::move(callbacks)));
  kLog.Info("started", {{"admin_port", admin->port()}});

  signal.Wait();
  kLog.Info("draining");
  process->Drain();
  process->Stop();
  admin.reset();
  process.reset();
  kLog.Info("stopped");
  telemetry->Shutdown(2s);
  return absl::OkStatus();
}

}  // namespace weft::scheduler
