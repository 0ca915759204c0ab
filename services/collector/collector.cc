#include "services/collector/collector.h"

#include <grpcpp/impl/service_type.h>

#include <algorithm>

#include "libs/base/shutdown.h"
#include "libs/base/status.h"
#include "libs/config/address.h"
#include "libs/rpc/otlp_exporter.h"
#include "services/collector/otlp_codec.h"
#include "services/collector/otlp_sender.h"

namespace weft::collector {
namespace {

using SteadyClock = std::chrono::steady_clock;
const telemetry::Logger kLog("collector");

// The end of the chain when spans are to go nowhere: they are counted, so that it shows.
class NoExporter final : public spans::Stage {
 public:
  explicit NoExporter(spans::Metrics& metrics) : exported_(metrics.exported.With({"none"})) {}
  absl::Status Consume(spans::Batch& batch) override {
    exported_.Increment(static_cast<double>(spans::CountSpans(batch.spans)));
    batch = spans::Batch();
    return absl::OkStatus();
  }
  void Shutdown(std::chrono::nanoseconds) override {}

 private:
  telemetry::Counter exported_;
};

}  // namespace

Collector::Collector(const Config& config, telemetry::Registry& registry)
    : config_(config),
      registry_(registry),
      metrics_(registry),
      memory_(static_cast<size_t>(config.memory_limit_bytes)) {}

absl::StatusOr<std::unique_ptr<Collector>> Collector::Start(const Config& config,
                                                            telemetry::Registry& registry) {
  WEFT_RETURN_IF_ERROR(config.Validate());
  std::unique_ptr<Collector> self(new Collector(config, registry));
  WEFT_RETURN_IF_ERROR(self->BuildStages());
  WEFT_RETURN_IF_ERROR(self->StartReceivers());
  self->Watch();
  self->ready_ = true;
  return self;
}

absl::Status Collector::BuildStages() {
  spans::Stage* next = nullptr;
  if (!config_.destination.target.empty()) {
    rpc::ChannelOptions channel = config_.destination;
    channel.max_message_bytes = std::max<uint64_t>(channel.max_message_bytes, 64 << 20);
    WEFT_ASSIGN_OR_RETURN(auto sender, MakeOtlpSender(channel));
    export_ =
        std::make_unique<spans::ExportQueue>(std::move(sender), config_.export_options, metrics_);
    next = export_.get();
  }
  if (!config_.file.empty()) {
    WEFT_ASSIGN_OR_RETURN(file_, spans::FileWriter::Open(config_.file, next, metrics_));
    next = file_.get();
  }
  if (next == nullptr) {
    last_ = std::make_unique<NoExporter>(metrics_);
    next = last_.get();
    kLog.Warning("no exporter is configured: spans are counted and dropped",
                 {{"keys", "collector.export.endpoint, collector.file"}});
  }
  batcher_ = std::make_unique<spans::Batcher>(*next, memory_, config_.batch, metrics_);
  spans::Stage* first = batcher_.get();
  // What is dropped anyhow need not outlive a crash.
  if (!last_ && !config_.disk_queue.directory.empty()) {
    WEFT_ASSIGN_OR_RETURN(first, BuildDiskQueue());
  }
  intake_ = std::make_unique<spans::Intake>(*first, memory_, config_.limits, metrics_);
  if (export_) export_->Start();
  batcher_->Start();
  if (disk_) disk_->Start();
  return absl::OkStatus();
}

absl::StatusOr<spans::Stage*> Collector::BuildDiskQueue() {
  auto log = spans::SegmentLog::Open(config_.disk_queue);
  if (!log.ok()) return Annotate(log.status(), "collector.disk_queue.directory");
  const spans::SegmentLog::Stats found = (*log)->stats();
  if (found.records > 0 || found.damaged_bytes > 0) {
    kLog.Info("the disk queue holds spans of an earlier run",
              {{"directory", config_.disk_queue.directory},
               {"records", found.records},
               {"bytes", found.bytes},
               {"damaged_bytes", found.damaged_bytes}});
  }
  // The other half of the memory is for requests that come in.
  disk_ = std::make_unique<spans::DiskQueue>(
      *batcher_, *std::move(log), spans::SpanCodec{SerializeOtlpProto, ParseOtlpProto}, memory_,
      static_cast<size_t>(config_.memory_limit_bytes) / 2, metrics_);
  return disk_.get();
}

absl::Status Collector::StartReceivers() {
  rpc::ServerOptions grpc = config_.grpc;
  grpc.max_message_bytes = config_.max_request_bytes;
  receiver_ = MakeGrpcReceiver(*intake_);
  WEFT_ASSIGN_OR_RETURN(grpc_,
                        rpc::Server::Start(grpc, {{receiver_.service.get(), receiver_.name}}));
  if (!config_.otlp_http_listen.empty()) {
    WEFT_ASSIGN_OR_RETURN(const config::HostPort address,
                          config::ParseHostPort("otlp_http_listen", config_.otlp_http_listen));
    auto router = std::make_shared<http::Router>();
    WEFT_RETURN_IF_ERROR(
        AddHttpReceiver(*router, *intake_, static_cast<size_t>(config_.max_request_bytes)));
    http::ServerOptions options;
    options.host = address.host;
    options.port = address.port;
    options.max_body_bytes = static_cast<size_t>(config_.max_request_bytes);
    WEFT_ASSIGN_OR_RETURN(http_, http::Server::Start(options, router));
  }
  WEFT_ASSIGN_OR_RETURN(const config::HostPort address,
                        config::ParseHostPort("admin_listen", config_.admin_listen));
  const auto ready = [this](std::string* detail) {
    if (!ready_) *detail = "starting or draining";
    return ready_.load();
  };
  WEFT_ASSIGN_OR_RETURN(admin_,
                        http::AdminServer::Start({.host = address.host, .port = address.port},
                                                 {.metrics = [this] { return registry_.Expose(); },
                                                  .healthy = [](std::string*) { return true; },
                                                  .ready = ready}));
  grpc_->SetServing(true);
  return absl::OkStatus();
}

void Collector::Watch() {
  watches_.push_back(registry_.WatchGauge("weft_collector_memory_bytes", "Spans held, in bytes.",
                                          {},
                                          [this] { return static_cast<double>(memory_.used()); }));
  watches_.push_back(registry_.WatchGauge("weft_collector_memory_limit_bytes",
                                          "Most that may be held.", {},
                                          [this] { return static_cast<double>(memory_.limit()); }));
  if (disk_) WatchDiskQueue();
  if (!export_) return;
  watches_.push_back(
      registry_.WatchGauge("weft_collector_queue_batches", "Batches waiting to be sent.",
                           {{"exporter", config_.export_options.name}},
                           [this] { return static_cast<double>(export_->queued_batches()); }));
  const auto capacity = static_cast<double>(config_.export_options.queue_batches);
  watches_.push_back(registry_.WatchGauge(
      "weft_collector_queue_capacity_batches", "Most batches that may wait.",
      {{"exporter", config_.export_options.name}}, [capacity] { return capacity; }));
}

void Collector::WatchDiskQueue() {
  const auto gauge = [this](const char* name, const char* help, auto value) {
    watches_.push_back(registry_.WatchGauge(
        name, help, {}, [this, value] { return static_cast<double>(value(disk_->stats())); }));
  };
  const auto counter = [this](const char* name, const char* help, auto value) {
    watches_.push_back(registry_.WatchCounter(
        name, help, {}, [this, value] { return static_cast<double>(value(disk_->stats())); }));
  };
  using Stats = spans::SegmentLog::Stats;
  gauge("weft_collector_disk_queue_bytes", "Bytes of spans on the disk.",
        [](const Stats& stats) { return stats.bytes; });
  gauge("weft_collector_disk_queue_records", "Accepted requests that are not all delivered.",
        [](const Stats& stats) { return stats.records; });
  gauge("weft_collector_disk_queue_limit_bytes", "Most that may be on the disk.",
        [limit = disk_->max_bytes()](const Stats&) { return limit; });
  counter("weft_collector_disk_queue_damaged_bytes_total",
          "Bytes of the queue's files that were no whole records.",
          [](const Stats& stats) { return stats.damaged_bytes; });
  counter("weft_collector_disk_queue_write_errors_total", "Writes that the disk refused.",
          [](const Stats& stats) { return stats.write_errors; });
}

Collector::~Collector() {
  Shutdown();
  for (const int watch : watches_) registry_.Unwatch(watch);
}

void Collector::Shutdown() {
  if (std::exchange(shut_down_, true)) return;
  ready_ = false;
  const auto deadline = SteadyClock::now() + config_.drain_timeout;
  const auto left = [&] {
    return std::max<std::chrono::nanoseconds>(deadline - SteadyClock::now(),
                                              std::chrono::nanoseconds(0));
  };
  // Requests take milliseconds; a connection that says nothing must not eat the stages' time.
  const auto receivers = std::min<std::chrono::nanoseconds>(left(), std::chrono::seconds(2));
  if (grpc_) grpc_->Drain(receivers);
  if (http_) {
    http_->Drain(std::chrono::duration_cast<std::chrono::milliseconds>(receivers));
    http_->Stop();
  }
  if (disk_) disk_->Shutdown(left() / 2);
  if (batcher_) batcher_->Shutdown(left());
  if (file_) file_->Shutdown(left());
  if (export_) export_->Shutdown(left());
  if (disk_) disk_->Close();
}

absl::Status Run(const Config& config, telemetry::Config telemetry) {
  telemetry.traces = false;  // a collector that traced itself would never be idle
  ShutdownSignal shutdown;
  WEFT_ASSIGN_OR_RETURN(const auto tools, rpc::StartTelemetry(telemetry, "weft-collector"));
  WEFT_ASSIGN_OR_RETURN(const auto collector, Collector::Start(config, tools->metrics()));
  kLog.Info("collector is ready",
            {{"otlp_grpc", fmt::format("{}", fmt::join(collector->grpc_addresses(), " "))},
             {"otlp_http_port", collector->http_port()},
             {"admin_port", collector->admin_port()}});
  shutdown.Wait();
  kLog.Info("draining");
  collector->Shutdown();
  kLog.Info("stopped");
  return absl::OkStatus();
}

}  // namespace weft::collector
