// The `telemetry` section of the configuration, and everything it sets up in one process.
//
// Services call rpc::StartTelemetry (libs/rpc/otlp_exporter.h), which adds the OTLP exporter.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "libs/telemetry/log.h"
#include "libs/telemetry/metrics.h"
#include "libs/telemetry/tracer.h"

namespace weft::config {
class Binder;
}

namespace weft::telemetry {

struct Config {
  Level log_level = Level::kInfo;
  std::string log_file;  // empty: stderr
  uint64_t log_queue_bytes = uint64_t{8} << 20;

  bool traces = true;
  std::string otlp_endpoint = "127.0.0.1:4317";
  bool otlp_tls = false;
  std::string otlp_ca_file;
  TracerOptions tracer;
  std::map<std::string, std::string> resource_attributes;

  absl::Status Validate() const;
};

// Declares the keys of the section `telemetry`.
void Bind(config::Binder& binder, Config& config);

struct Identity {
  std::string service;  // "weft-gateway": service.name
  std::string version;
  std::string instance;  // service.instance.id; "" = host name and process id
};

// One per process. Destroying it flushes.
class Telemetry {
 public:
  // `exporter` nullptr: traces are not recorded.
  static absl::StatusOr<std::unique_ptr<Telemetry>> Start(const Config& config,
                                                          const Identity& identity,
                                                          std::unique_ptr<SpanExporter> exporter);
  ~Telemetry();

  Registry& metrics() { return metrics_; }
  Tracer& tracer() { return *tracer_; }

  // Flushes spans, then logs. Later lines go to stderr. Legal twice.
  void Shutdown(std::chrono::nanoseconds wait);

 private:
  Telemetry() = default;

  std::shared_ptr<LogSink> sink_;
  std::unique_ptr<Tracer> tracer_;
  Registry metrics_;  // last made, first destroyed: it asks the members above
};

// service.*, host.name, process.pid, telemetry.sdk.* and the configured attributes.
Attributes ResourceAttributes(const Config& config, const Identity& identity);

}  // namespace weft::telemetry
