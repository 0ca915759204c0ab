#include "libs/telemetry/telemetry.h"

#include <unistd.h>

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/telemetry/log_sink.h"

namespace weft::telemetry {

absl::Status Config::Validate() const {
  if (traces && otlp_endpoint.empty()) {
    return InvalidArgument("telemetry.otlp_endpoint: needed while traces are enabled");
  }
  if (tracer.batch_spans > tracer.queue_spans) {
    return InvalidArgument("telemetry.traces.batch_spans: {} is more than queue_spans ({})",
                           tracer.batch_spans, tracer.queue_spans);
  }
  if (!otlp_tls && !otlp_ca_file.empty()) {
    return InvalidArgument("telemetry.traces.ca_file: set, but tls is off");
  }
  return absl::OkStatus();
}

void Bind(config::Binder& binder, Config& config) {
  using std::chrono::hours;
  using std::chrono::milliseconds;
  binder.Choice("log_level", &config.log_level,
                {{"debug", Level::kDebug},
                 {"info", Level::kInfo},
                 {"warning", Level::kWarning},
                 {"error", Level::kError}},
                "lines below this are not written");
  binder.Text("log_file", &config.log_file, "append log lines to this file; empty: stderr");
  binder.Bytes("log_queue_bytes", &config.log_queue_bytes, 64 << 10, uint64_t{1} << 30,
               "lines waiting to be written; beyond, lines are dropped and counted");
  binder.Map("resource_attributes", &config.resource_attributes, 64,
             "attributes of every span's resource, e.g. deployment.environment");
  binder.Text("otlp_endpoint", &config.otlp_endpoint,
              "where spans go, OTLP over gRPC: host:port or unix:path");
  binder.Section("traces", "spans and where they go", [&](config::Binder& traces) {
    traces.Bool("enabled", &config.traces, "record spans and send them to the collector");
    traces.Bool("tls", &config.otlp_tls, "speak TLS to the endpoint");
    traces.Text("ca_file", &config.otlp_ca_file, "PEM file: whom to trust; empty: system roots");
    traces.Float("sample_ratio", &config.tracer.sample_ratio, 0, 1,
                 "share of the traces that begin here; a caller's decision is kept");
    traces.Int("queue_spans", &config.tracer.queue_spans, 1, 1'000'000,
               "finished spans waiting; beyond, spans are dropped and counted");
    traces.Int("batch_spans", &config.tracer.batch_spans, 1, 10'000, "spans in one export");
    traces.Duration("flush_interval", &config.tracer.flush_interval, milliseconds(10), hours(1),
                    "longest wait of a finished span");
    traces.Duration("export_timeout", &config.tracer.export_timeout, milliseconds(10), hours(1),
                    "deadline of one export");
    traces.Duration("retry_for", &config.tracer.retry_for, milliseconds(0), hours(1),
                    "how long a batch is tried again while the collector is away");
  });
}

Attributes ResourceAttributes(const Config& config, const Identity& identity) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const auto pid = static_cast<int64_t>(getpid());
  Attributes attributes = {
      {"service.name", identity.service},
      {"service.namespace", std::string("weft")},
      {"service.version", identity.version},
      {"service.instance.id",
       identity.instance.empty() ? fmt::format("{}:{}", host, pid) : identity.instance},
      {"host.name", std::string(host)},
      {"process.pid", pid},
      {"telemetry.sdk.name", std::string("weft")},
      {"telemetry.sdk.language", std::string("cpp")},
      {"telemetry.sdk.version", identity.version},
  };
  for (const auto& [key, value] : config.resource_attributes) {
    std::erase_if(attributes, [&, &key = key](const auto& entry) { return entry.first == key; });
    attributes.emplace_back(key, value);
  }
  return attributes;
}

absl::StatusOr<std::unique_ptr<Telemetry>> Telemetry::Start(
    const Config& config, const Identity& identity, std::unique_ptr<SpanExporter> exporter) {
  WEFT_RETURN_IF_ERROR(config.Validate());
  std::unique_ptr<Telemetry> self(new Telemetry);
  WEFT_ASSIGN_OR_RETURN(
      self->sink_,
      LogSink::Open({.file = config.log_file,
                     .max_queued_bytes = static_cast<size_t>(config.log_queue_bytes)}));
  SetLogLevel(config.log_level);
  SetLogSink(self->sink_);
  self->tracer_ = std::make_unique<Tracer>(config.tracer, std::move(exporter));

  Registry& metrics = self->metrics_;
  WatchProcess(metrics, identity.service, identity.version);
  LogSink* sink = self->sink_.get();
  metrics.WatchCounter("weft_log_lines_dropped_total", "Log lines that could not be written.", {},
                       [sink] { return static_cast<double>(sink->dropped()); });
  for (const auto& [level, name] :
       {std::pair{Level::kDebug, "debug"}, std::pair{Level::kInfo, "info"},
        std::pair{Level::kWarning, "warning"}, std::pair{Level::kError, "error"}}) {
    metrics.WatchCounter("weft_log_lines_total", "Log lines by level.", {{"level", name}},
                         [level = level] { return static_cast<double>(LogLines(level)); });
  }
  Tracer* tracer = self->tracer_.get();
  metrics.WatchCounter("weft_spans_exported_total", "Spans that the collector took.", {},
                       [tracer] { return static_cast<double>(tracer->stats().exported); });
  metrics.WatchCounter("weft_spans_dropped_total", "Spans lost to a full queue or failed export.",
                       {}, [tracer] { return static_cast<double>(tracer->stats().dropped); });
  metrics.WatchGauge("weft_spans_queued", "Finished spans waiting for export.", {},
                     [tracer] { return static_cast<double>(tracer->stats().queued); });
  metrics.WatchCounter("weft_traceparent_invalid_total",
                       "Requests whose traceparent broke the grammar.", {},
                       [tracer] { return static_cast<double>(tracer->stats().bad_traceparents); });
  return self;
}

Telemetry::~Telemetry() { Shutdown(std::chrono::seconds(2)); }

void Telemetry::Shutdown(std::chrono::nanoseconds wait) {
  if (tracer_) tracer_->Shutdown(wait);
  if (sink_) {
    SetLogSink(nullptr);
    sink_->Flush(wait);
  }
}

}  // namespace weft::telemetry
