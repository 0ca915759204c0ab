#include "services/gateway/edge.h"

#include <algorithm>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;
using http::ForwardedHeader;

std::vector<IpNetwork> Networks(const std::vector<std::string>& texts) {
  auto parsed = ParseNetworks(texts);
  return parsed.ok() ? *std::move(parsed) : std::vector<IpNetwork>();
}

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

}  // namespace

absl::Status EdgeConfig::Validate() const {
  for (const auto& [key, texts] : {std::pair("trusted_proxies", &trusted_proxies),
                                   std::pair("allow", &allow), std::pair("deny", &deny)}) {
    WEFT_RETURN_IF_ERROR(
        Annotate(ParseNetworks(*texts).status(), fmt::format("gateway.edge.{}", key)));
  }
  for (const RouteLimit& route : routes) {
    if (route.route.find(" /") == std::string::npos) {
      return InvalidArgument("gateway.edge.routes: '{}' is not a route such as 'POST /v1/keys'",
                             route.route);
    }
  }
  return absl::OkStatus();
}

void Bind(config::Binder& b, EdgeConfig& c) {
  b.List("trusted_proxies", &c.trusted_proxies, 256,
         "networks (10.0.0.0/8) of the proxies whose word about the client counts; empty = none");
  b.Choice("forwarded_header", &c.forwarded_header,
           {{"x-forwarded-for", ForwardedHeader::kXForwardedFor},
            {"forwarded", ForwardedHeader::kForwarded},
            {"none", ForwardedHeader::kNone}},
           "the one header that the trusted proxies write; the other is ignored");
  b.List("allow", &c.allow, 1024, "networks that may come in; empty = all");
  b.List("deny", &c.deny, 1024, "networks that may not, also where allow has them");
  b.Duration("hsts_max_age", &c.hsts_max_age, 0s, 24h * 730,
             "Strict-Transport-Security of answers over TLS; 0 = without");
  b.Bool("hsts_subdomains", &c.hsts_subdomains, "it holds for subdomains too");
  b.Objects<EdgeConfig::RouteLimit>(
      "routes", &c.routes, 256, "limits of single routes",
      [](config::Binder& route, EdgeConfig::RouteLimit& r) {
        route.Text("route", &r.route, "method and pattern: POST /v1/keys");
        route.Int("max_body_bytes", &r.limits.max_body_bytes, 0, size_t{1} << 30,
                  "size of a body; 0 = as http.max_body_bytes");
        route.Int("max_header_bytes", &r.limits.max_header_bytes, 0, size_t{1} << 20,
                  "size of a head; 0 = as http.max_header_bytes");
        route.Duration("body_timeout", &r.limits.body_timeout, 0ms, 1h,
                       "for a whole body; 0 = as http.body_timeout");
        route.Int("max_concurrent", &r.limits.max_concurrent, 0, 1'000'000,
                  "requests at once; beyond, 503; 0 = no limit");
      });
}

Edge::Edge(const EdgeConfig& config)
    : trusted_(Networks(config.trusted_proxies)),
      allow_(Networks(config.allow)),
      deny_(Networks(config.deny)),
      header_(config.forwarded_header) {
  if (config.hsts_max_age.count() > 0) {
    hsts_ = fmt::format("max-age={}{}", config.hsts_max_age.count(),
                        config.hsts_subdomains ? "; includeSubDomains" : "");
  }
}

absl::Status Edge::Check(const std::optional<IpAddress>& address) const {
  if (deny_.empty() && allow_.empty()) return absl::OkStatus();
  // What has no address, a Unix socket, is on this machine: no list names it.
  if (!address) return absl::OkStatus();
  if (!AnyContains(deny_, *address) && (allow_.empty() || AnyContains(allow_, *address))) {
    return absl::OkStatus();
  }
  return WithErrorCode(PermissionDenied("Requests from your address are not allowed."),
                       "address_not_allowed");
}

absl::Status Edge::Admit(http::Request& request) const {
  if (auto client = FindClient(request.headers, request.remote_address, trusted_, header_)) {
    request.remote_address = std::move(client->address);
  } else if (const auto address = IpAddress::Parse(request.remote_address)) {
    if (address->is_v4()) request.remote_address = address->ToString();  // not ::ffff:a.b.c.d
  }
  return Check(IpAddress::Parse(request.remote_address));
}

absl::Status Edge::AdmitPeer(std::string_view peer) const {
  return Check(IpAddress::ParsePeer(peer));
}

bool Edge::FromTrusted(const http::Request& request) const {
  const auto peer = IpAddress::Parse(request.remote_address);
  return !trusted_.empty() && peer && AnyContains(trusted_, *peer);
}

std::string Edge::RequestId(const http::Request& request) const {
  const std::string_view given = request.headers.Get("X-Request-Id");
  return IsRequestId(given) && FromTrusted(request) ? std::string(given) : NewRequestId();
}

std::vector<std::pair<std::string, std::string>> Edge::SecurityHeaders(
    const http::Request& request) const {
  std::vector<std::pair<std::string, std::string>> out = {{"X-Content-Type-Options", "nosniff"}};
  if (hsts_.empty()) return out;
  bool secure = request.tls != nullptr;
  if (!secure && !trusted_.empty()) {
    const auto client = FindClient(request.headers, request.remote_address, trusted_, header_);
    secure = client && client->https;
  }
  if (secure) out.emplace_back("Strict-Transport-Security", hsts_);
  return out;
}

}  // namespace weft::gateway
