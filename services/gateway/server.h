// The gateway as an object: everything that weft-gateway runs, startable in a test.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "libs/telemetry/telemetry.h"
#include "services/gateway/config.h"

namespace weft::gateway {

class GatewayServer {
 public:
  // Serves when it returns; requests wait for schedulers by themselves. Telemetry must outlive it.
  static absl::StatusOr<std::unique_ptr<GatewayServer>> Start(const Config& config,
                                                              telemetry::Telemetry& telemetry);
  virtual ~GatewayServer() = default;  // as Stop

  virtual uint16_t http_port() const = 0;
  virtual uint16_t admin_port() const = 0;
  virtual std::string grpc_address() const = 0;
  virtual bool ready(std::string* why) const = 0;
  // Not ready, no new connections; what runs may end within the time, then it fails with 503.
  virtual void Drain(std::chrono::milliseconds grace) = 0;
};

// Until SIGTERM.
absl::Status Run(const Config& config, const telemetry::Config& telemetry);

}  // namespace weft::gateway
