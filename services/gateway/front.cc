#include "services/gateway/front.h"

#include <algorithm>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/telemetry/log.h"
#include "libs/telemetry/semantic.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

namespace semantic = telemetry::semantic;
const telemetry::Logger kLog("gateway.http");

// A method nobody defined must not make a metrics series.
std::string_view MethodLabel(const std::string& method) {
  for (const std::string_view known :
       {"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"}) {
    if (method == known) return known;
  }
  return "other";
}

http::Response Decorated(http::Response response, const RequestContext& context) {
  for (const auto& [name, value] : context.headers) response.headers.Set(name, value);
  return response;
}

}  // namespace

absl::Status CorsSettings::Validate() const {
  for (const std::string& origin : allowed_origins) {
    const bool url = origin.rfind("http://", 0) == 0 || origin.rfind("https://", 0) == 0;
    if (origin != "*" && (!url || origin.back() == '/')) {
      return InvalidArgument(
          "gateway.cors.allowed_origins: '{}' is neither '*' nor an origin such as "
          "https://example.org",
          origin);
    }
    if (origin == "*" && allow_credentials) {
      return InvalidArgument("gateway.cors.allow_credentials: not together with the origin '*'");
    }
  }
  return absl::OkStatus();
}

Front::Front(const EndpointTable& table, Admission& admission, Metrics& metrics,
             telemetry::Tracer& tracer, const Edge& edge, CorsSettings cors)
    : table_(table),
      admission_(admission),
      metrics_(metrics),
      tracer_(tracer),
      edge_(edge),
      cors_(std::move(cors)) {}

http::ServerHooks Front::Hooks() {
  http::ServerHooks hooks;
  hooks.error = [](int status, std::string_view code, std::string_view message) {
    http::Response response = ServerError(status, code, identity::RedactSecrets(message));
    response.headers.Add("X-Request-Id", NewRequestId());
    response.headers.Add("X-Content-Type-Options", "nosniff");
    return response;
  };
  hooks.header_filter = [this](http::Request& request, const http::Router::Route* route) {
    return Filter(request, route);
  };
  hooks.body_filter = [this](http::Request& request) { return FilterBody(request); };
  hooks.access_log = [this](const http::AccessRecord& record) { Log(record); };
  hooks.request_start = [this] {
    begun_.fetch_add(1, std::memory_order_relaxed);
    metrics_.http_active.Add(1);
  };
  return hooks;
}

std::optional<http::Response> Front::Filter(http::Request& request,
                                            const http::Router::Route* route) {
  auto context = std::make_shared<RequestContext>();
  context->request_id = edge_.RequestId(request);
  context->headers = edge_.SecurityHeaders(request);
  context->headers.emplace_back("X-Request-Id", context->request_id);
  request.context = context;
  if (absl::Status status = edge_.Admit(request); !status.ok()) {
    metrics_.auth_failures.With({"address"}).Increment();
    admission_.NoteRefusal("address",
                           {.method = request.method,
                            .target = request.target,
                            .remote_address = request.remote_address},
                           context->request_id);
    return Decorated(ErrorResponse(ToApiError(status)), *context);
  }
  const Endpoint* endpoint = table_.Find(route);
  if (auto answer = Cors(request, *context)) return Decorated(std::move(*answer), *context);
  if (endpoint == nullptr) return std::nullopt;  // the server answers 404 or 405
  // Public routes are polled; their spans would only be noise.
  if (!endpoint->guard.is_public()) {
    context->span = tracer_.Start(endpoint->method + " " + endpoint->pattern,
                                  {.parent = tracer_.Extract(request.headers.Get("traceparent"),
                                                             request.headers.Get("tracestate")),
                                   .kind = telemetry::SpanKind::kServer});
    context->span.Set(semantic::kHttpMethod, request.method);
    context->span.Set(semantic::kHttpRoute, endpoint->pattern);
    context->span.Set(semantic::kRequestId, context->request_id);
    context->headers.emplace_back("traceparent", context->span.traceparent());
  }
  return Admit(*endpoint, request, std::nullopt, *context);
}

std::optional<http::Response> Front::FilterBody(http::Request& request) {
  auto& context = *static_cast<RequestContext*>(request.context.get());
  if (context.waits_for_body == nullptr) return std::nullopt;
  const Endpoint& endpoint = *std::exchange(context.waits_for_body, nullptr);
  return Admit(endpoint, request, request.body, context);
}

std::optional<http::Response> Front::Admit(const Endpoint& endpoint, const http::Request& request,
                                           std::optional<std::string_view> body,
                                           RequestContext& context) {
  const http::Headers& headers = request.headers;
  identity::Credentials credentials;
  credentials.authorization = headers.Get("Authorization");
  credentials.api_key = headers.Get("X-API-Key");
  credentials.method = request.method;
  credentials.target = request.target;
  credentials.remote_address = request.remote_address;
  credentials.cookie = headers.Get("Cookie");
  credentials.csrf_token = headers.Get("X-CSRF-Token");
  credentials.signing_key_id = headers.Get("X-Weft-Key-Id");
  credentials.timestamp = headers.Get("X-Weft-Timestamp");
  credentials.signature = headers.Get("X-Weft-Signature");
  credentials.body = body;
  Admission::Pass pass =
      admission_.Check(endpoint.guard, endpoint.rate_limited, credentials, context.request_id);
  if (identity::IsNeedsBody(pass.status)) {
    context.waits_for_body = &endpoint;
    return std::nullopt;
  }
  if (pass.limited) {
    const auto& [policy, limit, decision] = *pass.limited;
    context.headers.emplace_back("RateLimit-Policy", limits::RateLimitPolicyHeader(limit, policy));
    context.headers.emplace_back("RateLimit", limits::RateLimitHeader(decision, policy));
  }
  for (auto& header : pass.headers) context.headers.push_back(std::move(header));
  if (pass.principal) {
    context.principal = pass.principal;
    context.span.Set(semantic::kTenant, pass.principal->tenant);
  }
  if (pass.status.ok()) return std::nullopt;
  http::Response refusal = ErrorResponse(ToApiError(pass.status));
  if (endpoint.pattern == "/generate" && refusal.status == 429) {
    // Requirement 000's shape beside ours.
    refusal.body.insert(1, R"("detail":"Rate limit exceeded",)");
  }
  return Decorated(std::move(refusal), context);
}

// Fetch standard, section 3.2. A preflight is answered here; other answers get the origin's header.
std::optional<http::Response> Front::Cors(const http::Request& request, RequestContext& context) {
  const std::string_view origin = request.headers.Get("Origin");
  const bool preflight =
      request.method == "OPTIONS" && request.headers.Has("Access-Control-Request-Method");
  if (cors_.allowed_origins.empty() || origin.empty()) return std::nullopt;
  context.headers.emplace_back("Vary", "Origin");
  const bool any = std::find(cors_.allowed_origins.begin(), cors_.allowed_origins.end(), "*") !=
                   cors_.allowed_origins.end();
  const bool allowed = any || std::find(cors_.allowed_origins.begin(), cors_.allowed_origins.end(),
                                        origin) != cors_.allowed_origins.end();
  if (allowed) {
    context.headers.emplace_back("Access-Control-Allow-Origin", any ? "*" : std::string(origin));
    if (cors_.allow_credentials)
      context.headers.emplace_back("Access-Control-Allow-Credentials", "true");
    context.headers.emplace_back(
        "Access-Control-Expose-Headers",
        "X-Request-Id, RateLimit, RateLimit-Policy, Retry-After, "
        "Idempotency-Replayed, X-Weft-Scan, X-Weft-Cache, X-Weft-Quota, Age");
  }
  if (!preflight) return std::nullopt;
  http::Response answer;
  answer.status = allowed ? 204 : 403;
  if (allowed) {
    answer.headers.Add("Access-Control-Allow-Methods", "GET, POST, DELETE");
    answer.headers.Add("Access-Control-Allow-Headers",
                       "Authorization, Content-Type, Idempotency-Key, X-API-Key, X-CSRF-Token, "
                       "X-Weft-Key-Id, X-Weft-Signature, X-Weft-Timestamp, X-Weft-Cache, "
                       "Cache-Control, traceparent, tracestate");
    answer.headers.Add("Access-Control-Max-Age", std::to_string(cors_.max_age.count()));
  }
  return answer;
}

void Front::Log(const http::AccessRecord& record) {
  metrics_.http_active.Add(-1);
  served_requests_.fetch_add(1, std::memory_order_relaxed);
  if (record.status >= 500) served_failed_.fetch_add(1, std::memory_order_relaxed);
  served_nanos_.fetch_add(static_cast<uint64_t>(record.duration.count()),
                          std::memory_order_relaxed);
  const http::Request& request = *record.request;
  const std::string_view endpoint =
      request.route.empty() ? std::string_view("unmatched") : request.route;
  const std::string_view method = MethodLabel(request.method);
  const std::string status = std::to_string(record.status);
  metrics_.http_requests.With({method, endpoint, status}).Increment();
  metrics_.http_duration.With({method, endpoint}).Observe(Seconds(record.duration));
  auto* context = static_cast<RequestContext*>(request.context.get());
  if (context == nullptr) {
    kLog.Info("bad request",
              {{"status", record.status}, {"remote_address", request.remote_address}});
    return;
  }
  if (context->span.recording()) {
    context->span.Set(semantic::kHttpStatus, record.status);
    if (record.status >= 500) context->span.SetError("HTTP " + status);
    context->span.End();
  }
  if (telemetry::Logger::Enabled(telemetry::Level::kDebug) || record.status >= 400) {
    kLog.Log(record.status >= 500 ? telemetry::Level::kWarning : telemetry::Level::kInfo, "request",
             {{"request_id", context->request_id},
              {"user_id", context->principal ? std::string_view(context->principal->key_id)
                                             : std::string_view()},
              {"tenant", context->principal ? std::string_view(context->principal->tenant)
                                            : std::string_view()},
              {"method", method},
              {"endpoint", endpoint},
              {"status", record.status},
              {"duration_ms", Millis(record.duration)},
              {"response_bytes", record.response_bytes},
              {"remote_address", request.remote_address},
              context->span.context()});
  }
}

ServedTotals Front::served() const {
  return {.requests = served_requests_.load(std::memory_order_relaxed),
          .failed = served_failed_.load(std::memory_order_relaxed),
          .duration = std::chrono::nanoseconds(served_nanos_.load(std::memory_order_relaxed))};
}

void Front::TickSecond() {
  metrics_.http_per_second.Set(static_cast<double>(begun_.exchange(0, std::memory_order_relaxed)));
}

}  // namespace weft::gateway
