// The section `collector`.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "libs/rpc/channel.h"
#include "libs/rpc/server.h"
#include "libs/spans/batcher.h"
#include "libs/spans/check.h"
#include "libs/spans/export_queue.h"
#include "libs/spans/segment_log.h"

namespace weft::config {
class Binder;
}

namespace weft::collector {

struct Config {
  std::string otlp_http_listen = "127.0.0.1:4318";  // empty: off
  std::string admin_listen = "127.0.0.1:9104";
  rpc::ServerOptions grpc;                         // listen: 127.0.0.1:4317
  uint64_t max_request_bytes = uint64_t{4} << 20;  // unpacked
  uint64_t memory_limit_bytes = uint64_t{256} << 20;
  spans::Limits limits;
  spans::SegmentLogOptions disk_queue;  // directory empty: accepted spans are in memory only
  spans::BatcherOptions batch;
  rpc::ChannelOptions destination;  // target empty: spans go nowhere else
  spans::ExportOptions export_options;
  std::string file;  // OTLP JSON lines; empty: none
  std::chrono::milliseconds drain_timeout{10'000};

  Config();
  absl::Status Validate() const;
};

void Bind(config::Binder& binder, Config& config);

}  // namespace weft::collector
