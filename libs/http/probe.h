// Asks a service's admin port how it is: one GET over a socket.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace weft::http {

struct ProbeResult {
  int status = 0;    // HTTP status; 0: no answer
  std::string body;  // at most 4 KiB
};

// GET path from host:port: a name or a literal; 0.0.0.0 and :: mean this machine. Blocks at most
// for `timeout`, and for as long as a name takes to be looked up.
ProbeResult HttpGet(const std::string& host, uint16_t port, const std::string& path,
                    std::chrono::milliseconds timeout);

// What `--healthcheck` of a service does: OK when `url` answers 200 within `timeout`; without a
// URL, /health of admin_listen (host:port) is asked. The error holds the answer. Only
// http://HOST[:PORT]/PATH is taken (INVALID_ARGUMENT).
absl::Status CheckHealth(const std::string& admin_listen, const std::string& url,
                         std::chrono::milliseconds timeout = std::chrono::seconds(3));

}  // namespace weft::http
