// Asks a service's admin port whether it is ready.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace weft::supervise {

struct ProbeResult {
  int status = 0;    // HTTP status; 0: no answer
  std::string body;  // at most 4 KiB
};

// GET path from host:port (an IPv4 or IPv6 literal or localhost). Blocks at most for `timeout`.
ProbeResult HttpGet(const std::string& host, uint16_t port, const std::string& path,
                    std::chrono::milliseconds timeout);

}  // namespace weft::supervise
