// What administrators do with API keys, the same for REST and gRPC: whose keys they may touch, what
// they may give away, and what the audit keeps of it. Blocks for the database.
#pragma once

#include <absl/status/statusor.h>

#include <string_view>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/key_service.h"
#include "services/gateway/actor.h"

namespace weft::gateway {

// Thread safe. The parts outlive it. Errors are fit for clients (StoreTrouble).
class KeyAdmin {
 public:
  // `default_rate`: requests a minute of keys that are made without.
  KeyAdmin(identity::KeyService& keys, identity::AuditSink& audit, uint32_t default_rate = 60,
           Clock& clock = Clock::Real())
      : keys_(keys), audit_(audit), default_rate_(default_rate), clock_(clock) {}

  // A rate of 0 is the default. An empty tenant means "default" for those who may act on every
  // tenant, else one's own. PERMISSION_DENIED for a key that may do what its maker may not.
  absl::StatusOr<identity::CreatedKey> Create(const Actor& actor, identity::NewKey key);
  // An empty tenant means all that the caller may see.
  absl::StatusOr<std::vector<store::KeyRecord>> List(const Actor& actor, std::string_view tenant);
  // As Create and Revoke.
  absl::StatusOr<identity::CreatedKey> Rotate(const Actor& actor, std::string_view id,
                                              std::chrono::seconds overlap);
  // NOT_FOUND also for another tenant's key.
  absl::Status Revoke(const Actor& actor, std::string_view id);

 private:
  absl::Status MayTouch(const Actor& actor, std::string_view id);
  absl::Status MayGive(const Actor& actor, const identity::NewKey& key);
  absl::Status MayHold(const Actor& actor, const identity::Principal& key);
  // Keeps what was tried; the status is what the client is told.
  absl::Status Settle(const Actor& actor, std::string_view action, std::string_view id,
                      absl::Status status);

  identity::KeyService& keys_;
  identity::AuditSink& audit_;
  const uint32_t default_rate_;
  Clock& clock_;
};

}  // namespace weft::gateway
