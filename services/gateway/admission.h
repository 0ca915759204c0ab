// Who may come in: authentication, permission and rate limit, the same for REST and gRPC.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/identity/authenticator.h"
#include "libs/limits/rate_limiter.h"
#include "services/gateway/auth_guard.h"
#include "services/gateway/metrics.h"
#include "services/gateway/refusal_audit.h"
#include "services/gateway/traffic_guard.h"

namespace weft::gateway {

// What a client is told of an error of the key store. The error itself names files and may be a
// full disk or a lock: it goes to the log, and the client gets UNAVAILABLE. What the client can
// mend (INVALID_ARGUMENT, NOT_FOUND) or is told otherwise (PERMISSION_DENIED, FAILED_PRECONDITION)
// passes.
absl::Status StoreTrouble(std::string_view what, const absl::Status& status);

// Thread safe. The parts must outlive it.
class Admission {
 public:
  // `refusals` nullptr: they are not in the audit.
  Admission(identity::Authenticator& authenticator, AuthGuard& guard, TrafficGuard& traffic,
            Metrics& metrics, RefusalAudit* refusals = nullptr)
      : authenticator_(authenticator),
        guard_(guard),
        traffic_(traffic),
        metrics_(metrics),
        refusals_(refusals) {}

  // The limit of an address on credentials that are not good.
  struct Limited {
    std::string_view policy;
    limits::Limit limit;
    limits::Decision decision;
  };
  struct Pass {
    identity::PrincipalPtr principal;  // nullptr on public routes
    std::optional<Limited> limited;    // also set when the limit refused
    HeaderList headers;                // of the principal's own limits
    absl::Status status;
  };
  // Public routes do not look at credentials at all. `rate_limited` false: whoever handles it takes
  // the limits of it, with all that they need to know. The status may be NeedsBody: then nothing
  // was decided and nothing counted, and it is asked again with the body.
  Pass Check(const identity::Guard& guard, bool rate_limited,
             const identity::Credentials& credentials, std::string_view request_id = {});
  // Into the audit, bounded: a request that was turned away.
  void NoteRefusal(std::string_view reason, const identity::Credentials& credentials,
                   std::string_view request_id, const identity::Principal* principal = nullptr);

 private:
  absl::StatusOr<identity::PrincipalPtr> Authenticate(const identity::Credentials& credentials,
                                                      std::string_view request_id, Pass& pass);

  identity::Authenticator& authenticator_;
  AuthGuard& guard_;
  TrafficGuard& traffic_;
  Metrics& metrics_;
  RefusalAudit* const refusals_;
};

}  // namespace weft::gateway
