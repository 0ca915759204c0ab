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
      return status;
    default:
      kLog.Error(what, {{"error", status}});
      return WithRetryAfter(
          Unavailable("The server cannot use its key database at the moment. Please try again."),
          std::chrono::seconds(1));
  }
}

Admission::Pass Admission::Check(identity::Access access, bool rate_limited,
                                 const identity::Credentials& credentials) {
  Pass pass;
  if (access == identity::Access::kPublic) return pass;
  auto principal = authenticator_.Authenticate(credentials);
  if (!principal.ok()) {
    pass.status = principal.status();
    const bool bad_key = pass.status.code() == absl::StatusCode::kUnauthenticated;
    metrics_.auth_failures.With({bad_key ? "bad_key" : "store"}).Increment();
    if (!bad_key) pass.status = StoreTrouble("a key could not be checked", pass.status);
    return pass;
  }
  pass.status = identity::CheckAccess(access, principal->get());
  if (!pass.status.ok()) {
    metrics_.auth_failures.With({*principal ? "role" : "no_key"}).Increment();
    return pass;
  }
  pass.principal = std::move(*principal);
  if (!rate_limited) return pass;
  limits::Limit limit;
  limit.requests = pass.principal->requests_per_minute;
  pass.limit = limit;
  pass.decision = limiter_.Take(pass.principal->key_id, limit);
  if (!pass.decision->allowed) {
    metrics_.rate_limited.Increment();
    // The text is fixed by requirement 000.
    pass.status = WithRetryAfter(
        WithErrorCode(ResourceExhausted("Rate limit exceeded"), "rate_limit_exceeded"),
        pass.decision->retry_after);
  }
  return pass;
}

}  // namespace weft::gateway
