// "host:port" as written in a configuration.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace weft::config {

struct HostPort {
  std::string host;  // without the brackets of an IPv6 literal
  uint16_t port = 0;
};

// "127.0.0.1:80", "[::1]:80", "localhost:0". The error begins with `key`.
absl::StatusOr<HostPort> ParseHostPort(std::string_view key, std::string_view text);

}  // namespace weft::config
