#include "services/gateway/auth_routes.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/cookie.h"
#include "libs/json/strict_json.h"
#include "libs/telemetry/log.h"
#include "services/gateway/admission.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"

namespace weft::gateway {
namespace {

using identity::Guard;
using identity::Permission;
using nlohmann::ordered_json;
using DepsPtr = std::shared_ptr<const LoginDeps>;

const telemetry::Logger kLog("gateway.login");

struct Asked {
  std::string tenant;
  std::string user;
  std::string password;
  bool session = false;
};

absl::StatusOr<Asked> ParseLogin(const nlohmann::json& body) {
  if (!body.is_object()) return InvalidArgument("The request body must be a JSON object.");
  ParamReader r(body, "");
  Asked asked;
  asked.user = r.RequiredText("username", 128);
  asked.password = r.RequiredText("password", 1024);
  asked.tenant = r.Text("tenant", "default", 100);
  asked.session = r.Bool("session", false);
  WEFT_RETURN_IF_ERROR(r.Finish());
  return asked;
}

identity::AuditEvent LoginEvent(const LoginDeps& deps, const Call& call, const Asked& asked,
                                std::string outcome) {
  identity::AuditEvent event =
      AuditOf(call.actor(), deps.clock->Wall(), "login", "user", asked.user, std::move(outcome));
  if (deps.tenant_exists(asked.tenant)) event.tenant = asked.tenant;
  event.method = "password";
  return event;
}

absl::Status TooMany(const LoginDeps& deps, const limits::Decision& decision) {
  deps.metrics->auth_failures.With({"throttled"}).Increment();
  return WithRetryAfter(
      WithErrorCode(ResourceExhausted("Too many attempts to sign in failed. Please wait before you "
                                      "try again."),
                    "too_many_failed_authentications"),
      decision.retry_after);
}

void SendToken(const DepsPtr& deps, const Call& call, const identity::User& user,
               std::string_view source, bool session) {
  const auto token = deps->tokens->Issue(
      user, source, session ? identity::TokenKind::kSession : identity::TokenKind::kAccess);
  ordered_json body;
  if (session) {
    body["token_type"] = "session";
    body["csrf_token"] = token.csrf;
  } else {
    body["access_token"] = token.text;
    body["token_type"] = "bearer";
  }
  body["expires_in"] = token.lifetime.count();
  http::Response response = http::Response::Json(200, body.dump());
  response.headers.Add("Cache-Control", "no-store");
  if (session) SetSessionCookies(&token, response);
  call.Send(std::move(response));
}

// On a thread that may block.
void CheckLogin(const DepsPtr& deps, const Call& call, const Asked& asked) {
  const std::string who = asked.tenant + "/" + asked.user;
  const identity::Credentials origin{.remote_address = call.request().remote_address};
  // Again: others of this user failed while this one waited.
  if (const auto now = deps->failures->Peek(who, deps->failures_of_user); !now.allowed) {
    return call.Fail(TooMany(*deps, now));
  }
  absl::Status trouble;
  for (identity::PasswordLogin* login : deps->logins) {
    auto user = login->Login(asked.tenant, asked.user, asked.password);
    if (!user.ok()) {
      trouble = user.status();
      continue;
    }
    if (!*user) continue;
    if (absl::Status kept = deps->audit->Keep(LoginEvent(*deps, call, asked, "ok")); !kept.ok()) {
      return call.Fail(StoreTrouble("the audit of a login could not be kept", kept));
    }
    return SendToken(deps, call, **user, login->source(), asked.session);
  }
  if (!trouble.ok()) {
    // Whatever is wrong with a directory, it is not what the client sent.
    return call.Fail(
        StoreTrouble("users could not be looked up", Unavailable("{}", Message(trouble))));
  }
  deps->metrics->auth_failures.With({"bad_password"}).Increment();
  deps->audit->Note(LoginEvent(*deps, call, asked, "denied"));
  kLog.Info("login refused", {{"request_id", call.context().request_id},
                              {"tenant", identity::RedactSecrets(asked.tenant)},
                              {"remote_address", call.request().remote_address}});
  const auto of_address = deps->addresses->Failed(origin);
  const auto of_user = deps->failures->Take(who, deps->failures_of_user);
  if (!of_user.allowed) return call.Fail(TooMany(*deps, of_user));
  if (of_address && !of_address->allowed) return call.Fail(TooMany(*deps, *of_address));
  call.Fail(identity::TokenWithoutSubject());
}

void Login(const DepsPtr& deps, const Call& call) {
  if (deps->tokens == nullptr || deps->logins.empty()) {
    return call.Fail(WithErrorCode(NotFound("Signing in with a password is not configured."),
                                   "login_not_configured"));
  }
  auto body = ParseStrictJson(call.request().body, {.depth = 4});
  if (!body.ok()) return call.Fail(InvalidArgument("We could not parse the JSON body."));
  auto asked = ParseLogin(*body);
  if (!asked.ok()) return call.Fail(asked.status());
  const identity::Credentials origin{.remote_address = call.request().remote_address};
  if (const auto blocked = deps->addresses->Blocked(origin))
    return call.Fail(TooMany(*deps, *blocked));
  const auto decision =
      deps->failures->Peek(asked->tenant + "/" + asked->user, deps->failures_of_user);
  if (!decision.allowed) return call.Fail(TooMany(*deps, decision));
  const bool queued = deps->threads->TrySubmit(
      [deps, call, asked = *std::move(asked)] { CheckLogin(deps, call, asked); });
  if (!queued) {
    call.Fail(WithRetryAfter(ResourceExhausted("Too many people sign in at the moment."),
                             std::chrono::seconds(1)));
  }
}

void Logout(const DepsPtr& deps, const Call& call) {
  const identity::PrincipalPtr principal = call.context().principal;
  if (deps->tokens == nullptr || principal->token_id.empty()) {
    return call.Fail(InvalidArgument("An API key does not sign in, and cannot sign out."));
  }
  const bool queued = deps->threads->TrySubmit([deps, call, principal] {
    if (absl::Status status = deps->tokens->Revoke(*principal); !status.ok()) {
      return call.Fail(StoreTrouble("a token could not be revoked", status));
    }
    deps->audit->Note(
        AuditOf(call.actor(), deps->clock->Wall(), "logout", "user", principal->subject, "ok"));
    http::Response response = http::Response::Json(200, R"({"status":"signed_out"})");
    response.headers.Add("Cache-Control", "no-store");
    SetSessionCookies(nullptr, response);
    call.Send(std::move(response));
  });
  if (!queued) {
    call.Fail(WithRetryAfter(ResourceExhausted("Too many people sign out at the moment."),
                             std::chrono::seconds(1)));
  }
}

void Me(const Call& call) {
  const identity::Principal& me = *call.context().principal;
  ordered_json out;
  out["subject"] = me.subject;
  out["name"] = me.name;
  out["tenant"] = me.tenant;
  out["project"] = me.project.empty() ? ordered_json() : ordered_json(me.project);
  out["roles"] = me.roles;
  out["permissions"] = identity::PermissionNames(me.permissions);
  out["auth_method"] = identity::AuthMethodName(me.method);
  call.SendJson(200, out.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
}

}  // namespace

void SetSessionCookies(const identity::IssuedToken* token, http::Response& response) {
  using identity::SetCookie;
  const auto lifetime = token != nullptr ? token->lifetime : std::chrono::seconds(0);
  const std::string_view text = token != nullptr ? token->text : std::string_view();
  const std::string_view csrf = token != nullptr ? token->csrf : std::string_view();
  // Lax: a link from elsewhere finds the session; a form from elsewhere does not.
  response.headers.Add(
      "Set-Cookie", SetCookie(identity::kSessionCookie, text, lifetime, identity::SameSite::kLax));
  response.headers.Add("Set-Cookie", SetCookie(identity::kCsrfCookie, csrf, lifetime,
                                               identity::SameSite::kStrict, true));
}

absl::Status AddAuthRoutes(const DepsPtr& deps, EndpointTable& table) {
  WEFT_RETURN_IF_ERROR(
      table.Add({"POST",
                 "/auth/login",
                 Guard::Public(),
                 false,
                 {.operation_id = "login",
                  .summary = "Gives a token, or a browser's session, for a name and a password",
                  .tag = "Identity",
                  .request = "LoginRequest",
                  .response = "LoginResponse"},
                 [deps](const Call& call) { Login(deps, call); }}));
  WEFT_RETURN_IF_ERROR(table.Add({"POST",
                                  "/auth/logout",
                                  Permission::kSelfRead,
                                  true,
                                  {.operation_id = "logout",
                                   .summary = "Ends the token or session that it is called with",
                                   .tag = "Identity",
                                   .response = "SignedOut"},
                                  [deps](const Call& call) { Logout(deps, call); }}));
  return table.Add({"GET",
                    "/auth/me",
                    Permission::kSelfRead,
                    true,
                    {.operation_id = "whoAmI",
                     .summary = "Who makes this request, and what they may do",
                     .tag = "Identity",
                     .response = "Identity"},
                    [](const Call& call) { Me(call); }});
}

}  // namespace weft::gateway
