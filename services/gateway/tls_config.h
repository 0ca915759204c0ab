// The `gateway.tls` section: TLS of the REST API.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>

#include "libs/http/tls.h"
#include "libs/rpc/tls.h"
#include "libs/telemetry/metrics.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct TlsConfig {
  rpc::TlsOptions files;  // the same keys as gateway.grpc_tls
  bool allow_tls12 = false;
  std::chrono::milliseconds reload_interval{1'000};  // 0: only at start

  absl::Status Validate() const;
};

void Bind(config::Binder& binder, TlsConfig& config);

// nullptr when TLS is not enabled. Errors name the file.
absl::StatusOr<std::shared_ptr<http::TlsCertificates>> MakeTls(const TlsConfig& config);

// Looks for changed files every reload_interval and counts what became of them.
class TlsReloader {
 public:
  // Without certificates it only shows that there are none.
  TlsReloader(std::shared_ptr<http::TlsCertificates> certificates,
              std::chrono::milliseconds interval, telemetry::Registry& registry);
  ~TlsReloader();
  TlsReloader(const TlsReloader&) = delete;
  TlsReloader& operator=(const TlsReloader&) = delete;

  void Tick();  // one thread; blocks on the disk

 private:
  const std::shared_ptr<http::TlsCertificates> certificates_;
  const std::chrono::milliseconds interval_;
  telemetry::Registry& registry_;
  telemetry::CounterFamily reloads_;
  int watch_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace weft::gateway
