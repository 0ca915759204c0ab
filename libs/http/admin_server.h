// /metrics, /health and /ready of a service, on a port of its own.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace weft::http {

struct AdminOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
};

// The callbacks run on the server's thread and must not block for long. They may be called until
// the AdminServer is destroyed.
struct AdminCallbacks {
  // The Prometheus text exposition format (version 0.0.4).
  std::function<std::string()> metrics;
  // Liveness: false answers 503. `detail` may fill a reason.
  std::function<bool(std::string* detail)> healthy;
  // Readiness: false answers 503.
  std::function<bool(std::string* detail)> ready;
};

// Thread safe.
class AdminServer {
 public:
  // The error names the address.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(const AdminOptions& options,
                                                            AdminCallbacks callbacks);
  virtual ~AdminServer() = default;
  virtual uint16_t port() const = 0;
};

}  // namespace weft::http
