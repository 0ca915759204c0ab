// Who may come in: authentication, role and rate limit, the same for REST and gRPC.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string_view>

#include "libs/identity/authenticator.h"
#include "libs/limits/rate_limiter.h"
#include "services/gateway/metrics.h"

namespace weft::gateway {

// What a client is told of an error of the key store. The error itself names files and may be a
// full disk or a lock: it goes to the log, and the client gets UNAVAILABLE. What the client can
// mend (INVALID_ARGUMENT, NOT_FOUND) passes.
absl::Status StoreTrouble(std::string_view what, const absl::Status& status);

// Thread safe. The parts must outlive it.
class Admission {
 public:
  Admission(identity::Authenticator& authenticator, limits::RateLimiter& limiter, Metrics& metrics)
      : authenticator_(authenticator), limiter_(limiter), metrics_(metrics) {}

  struct Pass {
    identity::PrincipalPtr principal;  // nullptr on public routes
    std::optional<limits::Limit> limit;
    std::optional<limits::Decision> decision;  // also set when the limit refused
    absl::Status status;
  };
  // Public routes do not look at credentials at all.
  Pass Check(identity::Access access, bool rate_limited, const identity::Credentials& credentials);

 private:
  identity::Authenticator& authenticator_;
  limits::RateLimiter& limiter_;
  Metrics& metrics_;
};

}  // namespace weft::gateway
