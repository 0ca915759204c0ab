// Roles: named sets of permissions and models. Five are built in; others are made by operators.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/identity/principal.h"

namespace weft::identity {

inline constexpr std::string_view kAdminRole = "admin";
inline constexpr std::string_view kDefaultRole = "developer";

// admin, operator, developer, viewer, auditor: what each may do is PermissionTable's.
std::span<const std::string_view> BuiltInRoles();

struct RoleGrant {
  PermissionSet permissions;
  std::vector<std::string> models;  // patterns, as ModelAccess takes them; empty = all
};
using RoleGrantPtr = std::shared_ptr<const RoleGrant>;

// What a role may do. Thread safe; may read a database row, blocks for nothing longer.
class RoleDirectory {
 public:
  virtual ~RoleDirectory() = default;
  // nullptr: the tenant has no such role. Then it grants nothing.
  virtual absl::StatusOr<RoleGrantPtr> Find(std::string_view tenant,
                                            std::string_view role) const = 0;
};

// The built-in roles, and custom ones of the configuration that hold for every tenant.
class RoleBook final : public RoleDirectory {
 public:
  struct Custom {
    std::string name;                      // letters, digits, '.', '_', '-'; 1 to 64
    std::vector<std::string> permissions;  // as ParsePermissions takes them
    std::vector<std::string> models;
  };

  RoleBook();
  // INVALID_ARGUMENT names the role: a name that is built in or there twice, a permission that is
  // not. Every role may see who it is (self:read).
  absl::Status Add(const Custom& role);

  absl::StatusOr<RoleGrantPtr> Find(std::string_view tenant, std::string_view role) const override;

 private:
  std::map<std::string, RoleGrantPtr, std::less<>> roles_;
};

// The built-in roles alone.
std::shared_ptr<const RoleDirectory> BuiltInRoleBook();

// Sets the principal's roles and what they give: permissions add up, and so do the models, unless a
// role names none: then every model may be used. A role that is not there grants nothing.
absl::Status GrantRoles(const RoleDirectory& directory, std::vector<std::string> roles,
                        Principal& principal);

bool IsRoleName(std::string_view name);
// "developer,auditor": 1 to 8 different names. INVALID_ARGUMENT otherwise.
absl::StatusOr<std::vector<std::string>> ParseRoles(std::string_view text);
// Those of `more` that are not there yet.
void AddRoles(std::vector<std::string>& roles, const std::vector<std::string>& more);
std::string JoinRoles(const std::vector<std::string>& roles);

}  // namespace weft::identity
