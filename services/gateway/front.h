// What happens to every HTTP request before and after its handler: request id, trace, CORS,
// admission, metrics.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/http/server.h"
#include "services/gateway/admission.h"
#include "services/gateway/edge.h"
#include "services/gateway/endpoint.h"
#include "services/gateway/metrics.h"
#include "services/gateway/system_sampler.h"

namespace weft::gateway {

struct CorsSettings {
  std::vector<std::string> allowed_origins;  // exact origins, or "*"; empty: CORS is off
  bool allow_credentials = false;            // not with "*"
  std::chrono::seconds max_age{600};

  absl::Status Validate() const;
};

// Thread safe. Outlives the server that uses its hooks.
class Front {
 public:
  Front(const EndpointTable& table, Admission& admission, Metrics& metrics,
        telemetry::Tracer& tracer, const Edge& edge, CorsSettings cors);

  http::ServerHooks Hooks();
  // Sets http_requests_per_second; called once a second.
  void TickSecond();
  ServedTotals served() const;

 private:
  std::optional<http::Response> Filter(http::Request& request, const http::Router::Route* route);
  std::optional<http::Response> FilterBody(http::Request& request);
  // An answer refuses the request. Without a body it may have to wait for it.
  std::optional<http::Response> Admit(const Endpoint& endpoint, const http::Request& request,
                                      std::optional<std::string_view> body,
                                      RequestContext& context);
  std::optional<http::Response> Cors(const http::Request& request, RequestContext& context);
  void Log(const http::AccessRecord& record);

  const EndpointTable& table_;
  Admission& admission_;
  Metrics& metrics_;
  telemetry::Tracer& tracer_;
  const Edge& edge_;
  const CorsSettings cors_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> served_requests_{0};
  std::atomic<uint64_t> served_failed_{0};
  std::atomic<uint64_t> served_nanos_{0};
};

}  // namespace weft::gateway
