// What stands between the network and the API: who the client is behind trusted proxies, which
// addresses may come in, and the security headers of every answer.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/ip_address.h"
#include "libs/http/forwarded.h"
#include "libs/http/message.h"
#include "libs/http/router.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

// The `gateway.edge` section.
struct EdgeConfig {
  struct RouteLimit {
    std::string route;  // "POST /v1/keys", the pattern as in the OpenAPI document
    http::RouteLimits limits;
  };

  std::vector<std::string> trusted_proxies;  // networks
  http::ForwardedHeader forwarded_header = http::ForwardedHeader::kXForwardedFor;
  std::vector<std::string> allow;                 // networks; empty: all
  std::vector<std::string> deny;                  // before allow
  std::chrono::seconds hsts_max_age{31'536'000};  // 0: no header
  bool hsts_subdomains = false;
  std::vector<RouteLimit> routes;

  absl::Status Validate() const;
};

void Bind(config::Binder& binder, EdgeConfig& config);

// Immutable: thread safe.
class Edge {
 public:
  // The configuration must be valid.
  explicit Edge(const EdgeConfig& config);

  // Puts the client's address into request.remote_address when a trusted proxy names it.
  // PERMISSION_ DENIED when the address may not come in.
  absl::Status Admit(http::Request& request) const;
  // For gRPC: `peer` as gRPC names it ("ipv4:192.0.2.7:4711").
  absl::Status AdmitPeer(std::string_view peer) const;

  // The id that a trusted proxy gave the request, if it looks like one; else a new one.
  std::string RequestId(const http::Request& request) const;
  // Name and value of what every answer carries. Call before Admit changes the address.
  std::vector<std::pair<std::string, std::string>> SecurityHeaders(
      const http::Request& request) const;

 private:
  absl::Status Check(const std::optional<IpAddress>& address) const;
  bool FromTrusted(const http::Request& request) const;

  std::vector<IpNetwork> trusted_;
  std::vector<IpNetwork> allow_;
  std::vector<IpNetwork> deny_;
  http::ForwardedHeader header_;
  std::string hsts_;
};

}  // namespace weft::gateway
