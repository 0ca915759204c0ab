// The `scanner` section of the configuration.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <vector>

#include "libs/rpc/server.h"

namespace weft::config {
class Binder;
}

namespace weft::scanner {

// What one client may ask for. Beyond a limit comes an error, never a wait.
struct Limits {
  uint64_t max_text_bytes = uint64_t{4} << 20;      // of one ScanText
  int32_t max_pending_scans = 256;                  // ScanText calls that wait or run
  int32_t max_sessions = 256;                       // ScanStream calls
  int32_t max_open_streams = 4096;                  // handles of one session
  uint64_t max_stream_bytes = uint64_t{16} << 20;   // of one handle
  uint64_t max_pending_bytes = uint64_t{64} << 20;  // frames of one session that wait
  int32_t max_findings = 1000;                      // of one text
};

struct Config {
  rpc::ServerOptions server;
  std::string admin_listen = "127.0.0.1:9103";
  std::string rules_directory;
  std::vector<std::string> disabled_rules;
  int32_t window_bytes = 512;
  int32_t threads = 0;  // 0 = one per core
  Limits limits;

  Config();
  absl::Status Validate() const;
};

void Bind(config::Binder& binder, Config& config);

}  // namespace weft::scanner
