// Where the services of a mesh mean to listen, and whether they all can.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>

namespace weft::supervise {

// A TCP port, or with `socket` a Unix socket.
struct PortClaim {
  std::string purpose;  // "gateway REST"
  std::string key;      // what configures it: "gateway.listen"
  std::string host;
  uint16_t port = 0;   // 0: the kernel chooses
  std::string socket;  // its path; empty: TCP
};

// "127.0.0.1:8080", "[::1]:8080" or "unix:/run/x.sock". INVALID_ARGUMENT for others names the
// purpose.
absl::StatusOr<PortClaim> ParseAddress(const std::string& purpose, const std::string& key,
                                       const std::string& address);

// INVALID_ARGUMENT that names both keys when two claims cannot both be had: the same port of the
// same host, of all hosts (0.0.0.0, ::) or of names for this one, or the same socket.
absl::Status CheckDistinct(std::span<const PortClaim> claims);

}  // namespace weft::supervise
