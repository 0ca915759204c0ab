// What administrators do with tenants, projects, users, roles, quotas and settings, the same for
// REST and gRPC: whose they may touch, what they may give away, and what the audit keeps of it. An
// act and its row in the audit are one transaction. Blocks for the database.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/identity/role.h"
#include "libs/store/resource.h"
#include "libs/store/usage_store.h"
#include "services/gateway/actor.h"
#include "services/gateway/stored_audit.h"

namespace weft::gateway {

// What a type asks of who reads, or writes, it.
identity::Permission ResourcePermission(const store::ResourceType& type, bool write);

// Thread safe. The parts outlive it. Errors are fit for clients (StoreTrouble).
//
// `tenant`: whose; empty is one's own. Others' need tenants:cross (PERMISSION_DENIED), and so does
// everything about tenants but their display_name and settings, and quotas of a whole tenant.
class ResourceAdmin {
 public:
  // What is kept of a password, or INVALID_ARGUMENT for one that is not good. Without it users get
  // none here (they sign in elsewhere).
  using HashPassword = std::function<absl::StatusOr<std::string>(std::string_view password)>;

  ResourceAdmin(std::shared_ptr<store::Database> database, StoredAudit& audit,
                std::shared_ptr<const identity::RoleDirectory> roles,
                HashPassword hash_password = {}, bool can_seal = false,
                Clock& clock = Clock::Real())
      : database_(std::move(database)),
        audit_(audit),
        roles_(std::move(roles)),
        hash_password_(std::move(hash_password)),
        can_seal_(can_seal),
        clock_(clock) {}

  absl::StatusOr<nlohmann::ordered_json> Create(const Actor& actor, const store::ResourceType& type,
                                                std::string_view tenant, nlohmann::json body);
  absl::StatusOr<nlohmann::ordered_json> Get(const Actor& actor, const store::ResourceType& type,
                                             std::string_view tenant, std::string_view id);
  // {"object": "list", "data": […], "has_more": …}; tenant "*" is all. `limit`: 1 to 1000.
  absl::StatusOr<nlohmann::ordered_json> List(const Actor& actor, const store::ResourceType& type,
                                              std::string_view tenant, std::string_view after,
                                              size_t limit);
  absl::StatusOr<nlohmann::ordered_json> Update(const Actor& actor, const store::ResourceType& type,
                                                std::string_view tenant, std::string_view id,
                                                nlohmann::json patch);
  absl::Status Remove(const Actor& actor, const store::ResourceType& type, std::string_view tenant,
                      std::string_view id);

  // Sums as SumUsage's; tenant "*" is all.
  absl::StatusOr<nlohmann::ordered_json> Usage(const Actor& actor, std::string_view tenant,
                                               const store::UsageFilter& filter);

  // {"object": "list", "data": [rows as AuditJson], "has_more": …}. Looking is an act too.
  absl::StatusOr<nlohmann::ordered_json> Audit(const Actor& actor, std::string_view tenant,
                                               store::AuditFilter filter);
  // Of one tenant, or ("*") of every chain there is. `seen`: "seq:hash", a row that must be there.
  absl::StatusOr<nlohmann::ordered_json> VerifyAudit(const Actor& actor, std::string_view tenant,
                                                     std::string_view seen);

 private:
  using Act = std::function<absl::Status(store::Session&, std::string& id)>;

  absl::StatusOr<std::string> TenantOf(const Actor& actor, const store::ResourceType& type,
                                       std::string_view tenant, std::string_view id) const;
  absl::Status MayGive(const Actor& actor, const store::ResourceType& type, std::string_view tenant,
                       const nlohmann::json& body) const;
  // Whether this very record may be changed or removed.
  absl::Status MayTouch(const Actor& actor, const store::ResourceType& type,
                        std::string_view tenant, std::string_view id) const;
  absl::Status Write(const Actor& actor, const store::ResourceType& type, std::string_view tenant,
                     std::string_view verb, std::string id, std::string details, const Act& act);
  absl::Status CheckValue(const store::ResourceType& type, std::string_view id,
                          const nlohmann::json& body) const;
  // Moves "password" of a user's body into the fields that only the server sets.
  absl::Status TakePassword(const store::ResourceType& type, nlohmann::json& body,
                            nlohmann::json& server) const;
  absl::Status Refused(const Actor& actor, std::string_view what, std::string_view resource_type,
                       std::string_view id, absl::Status status);
  void NoteRead(const Actor& actor, std::string_view tenant, std::string_view action);

  const std::shared_ptr<store::Database> database_;
  StoredAudit& audit_;
  const std::shared_ptr<const identity::RoleDirectory> roles_;
  const HashPassword hash_password_;
  const bool can_seal_;  // a master key is configured
  Clock& clock_;
};

}  // namespace weft::gateway
