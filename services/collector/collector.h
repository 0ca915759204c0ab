// The collector as an object: what main runs and the integration tests start.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "libs/http/admin_server.h"
#include "libs/http/server.h"
#include "libs/rpc/server.h"
#include "libs/spans/batcher.h"
#include "libs/spans/disk_queue.h"
#include "libs/spans/export_queue.h"
#include "libs/spans/file_writer.h"
#include "libs/spans/intake.h"
#include "services/collector/config.h"
#include "services/collector/receivers.h"

namespace weft::telemetry {
struct Config;
}

namespace weft::collector {

class Collector {
 public:
  // Receives when it returns. The registry must outlive it.
  static absl::StatusOr<std::unique_ptr<Collector>> Start(const Config& config,
                                                          telemetry::Registry& registry);
  ~Collector();  // as Shutdown

  // Takes no more, sends on what it holds, for at most the configured time. Legal twice.
  void Shutdown();

  const std::vector<std::string>& grpc_addresses() const { return grpc_->addresses(); }
  uint16_t http_port() const { return http_ ? http_->port() : 0; }
  uint16_t admin_port() const { return admin_->port(); }

 private:
  Collector(const Config& config, telemetry::Registry& registry);
  absl::Status BuildStages();
  absl::StatusOr<spans::Stage*> BuildDiskQueue();
  absl::Status StartReceivers();
  void Watch();
  void WatchDiskQueue();

  const Config config_;
  telemetry::Registry& registry_;
  std::vector<int> watches_;
  spans::Metrics metrics_;
  spans::MemoryLimiter memory_;
  // In the order of the spans' way, from its end.
  std::unique_ptr<spans::Stage> last_;  // where no exporter is configured
  std::unique_ptr<spans::ExportQueue> export_;
  std::unique_ptr<spans::FileWriter> file_;
  std::unique_ptr<spans::Batcher> batcher_;
  std::unique_ptr<spans::DiskQueue> disk_;
  std::unique_ptr<spans::Intake> intake_;
  GrpcReceiver receiver_;
  std::unique_ptr<rpc::Server> grpc_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<http::AdminServer> admin_;
  std::atomic<bool> ready_ = false;
  bool shut_down_ = false;
};

// Runs until SIGTERM or SIGINT.
absl::Status Run(const Config& config, telemetry::Config telemetry);

}  // namespace weft::collector
