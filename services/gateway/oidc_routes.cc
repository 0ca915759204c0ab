// /auth/oidc: signing in on another's page and coming back with a session.
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/cookie.h"
#include "services/gateway/admission.h"
#include "services/gateway/api_error.h"
#include "services/gateway/auth_routes.h"

namespace weft::gateway {
namespace {

using identity::Guard;
using DepsPtr = std::shared_ptr<const LoginDeps>;

http::Response Redirection(std::string_view url) {
  http::Response response;
  response.status = 302;
  response.headers.Add("Location", url);
  response.headers.Add("Cache-Control", "no-store");
  return response;
}

absl::Status NotConfigured() {
  return WithErrorCode(NotFound("Signing in with an identity provider is not configured."),
                       "login_not_configured");
}

void Begin(const DepsPtr& deps, const Call& call) {
  if (deps->browser == nullptr || !deps->browser->available()) return call.Fail(NotConfigured());
  const auto start = deps->browser->Begin(call.request().QueryParam("provider").value_or(""),
                                          call.request().QueryParam("return_to").value_or("/"));
  if (!start.ok()) return call.Fail(start.status());
  http::Response response = Redirection(start->url);
  // Lax: it has to come along when the provider sends the browser back.
  response.headers.Add(
      "Set-Cookie", SetCookie(identity::kLoginCookie, start->cookie, identity::OidcLogin::kLifetime,
                              identity::SameSite::kLax));
  call.Send(std::move(response));
}

struct Answer {
  std::string cookie;
  std::string state;
  std::string code;
  std::string issuer;
};

void Finish(const DepsPtr& deps, const Call& call, const Answer& answer) {
  const auto end = deps->browser->Finish(answer.cookie, answer.state, answer.code, answer.issuer);
  if (!end.ok()) {
    if (end.status().code() == absl::StatusCode::kUnauthenticated) {
      deps->metrics->auth_failures.With({"bad_login"}).Increment();
      static_cast<void>(deps->addresses->Failed({.remote_address = call.request().remote_address}));
    }
    return call.Fail(end.status().code() == absl::StatusCode::kUnauthenticated
                         ? end.status()
                         : WithRetryAfter(Unavailable("The identity provider does not answer."),
                                          std::chrono::seconds(1)));
  }
  identity::AuditEvent event =
      AuditOf(call.actor(), deps->clock->Wall(), "login", "user", end->user.name, "ok");
  event.tenant = end->user.tenant;
  event.method = end->source;
  if (absl::Status kept = deps->audit->Keep(std::move(event)); !kept.ok()) {
    return call.Fail(StoreTrouble("the audit of a login could not be kept", kept));
  }
  const auto session = deps->tokens->Issue(end->user, end->source, identity::TokenKind::kSession);
  http::Response response = Redirection(end->return_to);
  SetSessionCookies(&session, response);
  response.headers.Add("Set-Cookie", SetCookie(identity::kLoginCookie, "", std::chrono::seconds(0),
                                               identity::SameSite::kLax));
  call.Send(std::move(response));
}

void Callback(const DepsPtr& deps, const Call& call) {
  if (deps->browser == nullptr || !deps->browser->available()) return call.Fail(NotConfigured());
  const http::Request& request = call.request();
  const auto blocked = deps->addresses->Blocked({.remote_address = request.remote_address});
  if (blocked) {
    deps->metrics->auth_failures.With({"throttled"}).Increment();
    return call.Fail(WithRetryAfter(ResourceExhausted("Too many attempts to sign in failed."),
                                    blocked->retry_after));
  }
  const auto cookie = identity::FindCookie(request.headers.Get("Cookie"), identity::kLoginCookie);
  Answer answer{std::string(cookie.value_or("")), request.QueryParam("state").value_or(""),
                request.QueryParam("code").value_or(""), request.QueryParam("iss").value_or("")};
  if (answer.cookie.empty() || answer.code.empty()) return call.Fail(identity::TokenInvalid());
  const bool queued = deps->threads->TrySubmit(
      [deps, call, answer = std::move(answer)] { Finish(deps, call, answer); });
  if (!queued) {
    call.Fail(WithRetryAfter(ResourceExhausted("Too many people sign in at the moment."),
                             std::chrono::seconds(1)));
  }
}

}  // namespace

absl::Status AddOidcRoutes(const DepsPtr& deps, EndpointTable& table) {
  WEFT_RETURN_IF_ERROR(
      table.Add({"GET",
                 "/auth/oidc/login",
                 Guard::Public(),
                 false,
                 {.operation_id = "oidcLogin",
                  .summary = "Sends a browser to an identity provider",
                  .description = "`provider`: its name (the first one); `return_to`: a path.",
                  .tag = "Identity",
                  .response = "text/html",
                  .status = 302,
                  .query = {"provider", "return_to"}},
                 [deps](const Call& call) { Begin(deps, call); }}));
  return table.Add({"GET",
                    "/auth/oidc/callback",
                    Guard::Public(),
                    false,
                    {.operation_id = "oidcCallback",
                     .summary = "Where the identity provider sends the browser back to",
                     .description = "Sets the session's cookies.",
                     .tag = "Identity",
                     .response = "text/html",
                     .status = 302,
                     .query = {"code", "state", "iss"}},
                    [deps](const Call& call) { Callback(deps, call); }});
}

}  // namespace weft::gateway
