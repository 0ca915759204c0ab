#include "services/gateway/admission.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway.keys");

}  // namespace

absl::Status StoreTrouble(std::string_view what, const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
      return status;
    default:
      kLog.Error(what, {{"exception", status}});
      return WithRetryAfter(
          Unavailable("The server cannot use its key database at the moment. Please try again."),
          std::chrono::seconds(1));
  }
}

absl::StatusOr<identity::PrincipalPtr> Admission::Authenticate(
    const identity::Credentials& credentials, std::string_view request_id, Pass& pass) {
  if (credentials.empty()) return identity::PrincipalPtr();  // nothing was tried
  const auto refuse = [&](const limits::Decision& decision) {
    metrics_.auth_failures.With({"throttled"}).Increment();
    NoteRefusal("throttled", credentials, request_id);
    return WithRetryAfter(
        WithErrorCode(ResourceExhausted("Too many requests with an incorrect API key came from "
                                        "your address. Please wait before you try again."),
                      "too_many_failed_authentications"),
        decision.retry_after);
  };
  if (const auto blocked = guard_.Blocked(credentials)) {
    pass.limited = {AuthGuard::kPolicy, guard_.limit(), *blocked};
    return refuse(*blocked);
  }
  auto principal = authenticator_.Authenticate(credentials);
  if (principal.ok()) {
    if (*principal) guard_.Succeeded(credentials);
    return principal;  // of nobody: what came says nothing, such as another page's cookie
  }
  if (identity::IsNeedsBody(principal.status())) return principal;
  if (principal.status().code() == absl::StatusCode::kPermissionDenied) {
    metrics_.auth_failures.With({"csrf"}).Increment();
    NoteRefusal("csrf", credentials, request_id);
    return principal;
  }
  if (principal.status().code() != absl::StatusCode::kUnauthenticated) {
    metrics_.auth_failures.With({"store"}).Increment();
    return StoreTrouble("a key could not be checked", principal.status());
  }
  if (const auto failed = guard_.Failed(credentials)) {
    pass.limited = {AuthGuard::kPolicy, guard_.limit(), *failed};
    if (!failed->allowed) return refuse(*failed);
  }
  metrics_.auth_failures.With({"bad_key"}).Increment();
  NoteRefusal("bad_key", credentials, request_id);
  return principal;
}

Admission::Pass Admission::Check(const identity::Guard& guard, bool rate_limited,
                                 const identity::Credentials& credentials,
                                 std::string_view request_id) {
  Pass pass;
  if (guard.is_public()) return pass;
  auto principal = Authenticate(credentials, request_id, pass);
  if (!principal.ok()) {
    pass.status = principal.status();
    return pass;
  }
  pass.status = identity::CheckGuard(guard, principal->get());
  if (!pass.status.ok()) {
    const std::string_view reason = *principal ? "role" : "no_key";
    metrics_.auth_failures.With({reason}).Increment();
    NoteRefusal(reason, credentials, request_id, principal->get());
    return pass;
  }
  pass.principal = std::move(*principal);
  if (!rate_limited) return pass;
  TrafficGuard::Pass limits = traffic_.CheckCall(
      {.principal = pass.principal.get(), .address = credentials.remote_address});
  pass.headers = std::move(limits.headers);
  pass.status = std::move(limits.status);
  if (absl::IsResourceExhausted(pass.status)) {
    metrics_.rate_limited.Increment();
    NoteRefusal("rate", credentials, request_id, pass.principal.get());
  }
  return pass;
}

void Admission::NoteRefusal(std::string_view reason, const identity::Credentials& credentials,
                            std::string_view request_id, const identity::Principal* principal) {
  if (refusals_ == nullptr) return;
  refusals_->Note({.reason = reason,
                   .address = credentials.remote_address,
                   .principal = principal,
                   .method = credentials.method,
                   .target = credentials.target,
                   .request_id = request_id});
}

}  // namespace weft::gateway
