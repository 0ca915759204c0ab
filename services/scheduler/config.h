// The `scheduler` section of the configuration.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "libs/rpc/server.h"
#include "libs/rpc/tls.h"
#include "services/scheduler/dispatcher.h"

namespace weft::config {
class Binder;
}

namespace weft::scheduler {

struct Config {
  rpc::ServerOptions server;
  std::string admin_listen = "127.0.0.1:9101";

  // Workers: "unix:/run/weft/worker-0.sock", "10.0.0.7:7000", or "dns:///worker.weft.svc:7000",
  // which stands for every address of that name and is looked up again and again.
  std::vector<std::string> workers{"unix:.weft/run/worker-0.sock"};
  std::chrono::milliseconds dns_interval{10'000};
  rpc::TlsOptions worker_tls;
  std::chrono::milliseconds reconnect_min{100};
  std::chrono::milliseconds reconnect_max{2'000};

  uint32_t tokenizer_threads = 2;
  uint32_t tokenizer_queue = 1024;
  uint32_t max_wait_ms = 50;  // into dispatcher.max_wait
  DispatcherOptions dispatcher;

  Config();
  absl::Status Validate() const;
  DispatcherOptions Dispatching() const;
};

void Bind(config::Binder& binder, Config& config);

}  // namespace weft::scheduler
