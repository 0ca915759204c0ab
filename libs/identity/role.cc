#include "libs/identity/role.h"

#include <algorithm>
#include <array>

#include "libs/base/status.h"
#include "libs/identity/model_access.h"

namespace weft::identity {
namespace {

constexpr std::array<std::string_view, 5> kBuiltIn = {kAdminRole, "operator", kDefaultRole,
                                                      "viewer", "auditor"};
constexpr size_t kMaxRoles = 8;

bool Lists(std::string_view roles, std::string_view role) {
  while (!roles.empty()) {
    const size_t space = roles.find(' ');
    if (roles.substr(0, space) == role) return true;
    if (space == std::string_view::npos) return false;
    roles.remove_prefix(space + 1);
  }
  return false;
}

}  // namespace

std::span<const std::string_view> BuiltInRoles() { return kBuiltIn; }

bool IsRoleName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

RoleBook::RoleBook() {
  for (const std::string_view role : kBuiltIn) {
    auto grant = std::make_shared<RoleGrant>();
    for (const PermissionInfo& row : PermissionTable()) {
      if (role == kAdminRole || Lists(row.roles, role)) grant->permissions.Add(row.permission);
    }
    roles_.emplace(role, std::move(grant));
  }
}

absl::Status RoleBook::Add(const Custom& role) {
  if (!IsRoleName(role.name)) {
    return InvalidArgument("role '{}': a name is 1 to 64 letters, digits, '.', '_' or '-'",
                           role.name);
  }
  auto permissions = ParsePermissions(role.permissions);
  if (!permissions.ok()) {
    return InvalidArgument("role '{}': {}", role.name, Message(permissions.status()));
  }
  if (absl::Status status = CheckModelPatterns(role.models); !status.ok()) {
    return InvalidArgument("role '{}': {}", role.name, Message(status));
  }
  auto grant = std::make_shared<RoleGrant>();
  grant->permissions = *permissions;
  grant->permissions.Add(Permission::kSelfRead);
  grant->models = role.models;
  if (!roles_.emplace(role.name, std::move(grant)).second) {
    return InvalidArgument("role '{}': is there already", role.name);
  }
  return absl::OkStatus();
}

absl::StatusOr<RoleGrantPtr> RoleBook::Find(std::string_view /*tenant*/,
                                            std::string_view role) const {
  const auto it = roles_.find(role);
  return it == roles_.end() ? nullptr : it->second;
}

std::shared_ptr<const RoleDirectory> BuiltInRoleBook() {
  static const auto book = std::make_shared<const RoleBook>();
  return book;
}

absl::Status GrantRoles(const RoleDirectory& directory, std::vector<std::string> roles,
                        Principal& principal) {
  std::vector<std::string> models;
  bool every_model = false;
  for (const std::string& role : roles) {
    WEFT_ASSIGN_OR_RETURN(const RoleGrantPtr grant, directory.Find(principal.tenant, role));
    if (!grant) continue;
    principal.permissions = principal.permissions | grant->permissions;
    // A role that may not use models has no say about which.
    if (!grant->permissions.Has(Permission::kModelsUse) &&
        !grant->permissions.Has(Permission::kModelsRead)) {
      continue;
    }
    every_model = every_model || grant->models.empty();
    models.insert(models.end(), grant->models.begin(), grant->models.end());
  }
  if (!every_model) principal.models.Restrict(std::move(models));
  principal.roles = std::move(roles);
  return absl::OkStatus();
}

void AddRoles(std::vector<std::string>& roles, const std::vector<std::string>& more) {
  for (const std::string& role : more) {
    if (std::find(roles.begin(), roles.end(), role) == roles.end()) roles.push_back(role);
  }
}

absl::StatusOr<std::vector<std::string>> ParseRoles(std::string_view text) {
  std::vector<std::string> roles;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view one = text.substr(0, comma);
    if (!IsRoleName(one)) {
      return InvalidArgument("role: '{}' is no role's name", one.substr(0, 64));
    }
    if (std::find(roles.begin(), roles.end(), one) != roles.end()) {
      return InvalidArgument("role: '{}' is there twice", one);
    }
    roles.emplace_back(one);
    if (roles.size() > kMaxRoles) return InvalidArgument("role: at most {} roles", kMaxRoles);
    if (comma == std::string_view::npos) return roles;
    text.remove_prefix(comma + 1);
  }
}

std::string JoinRoles(const std::vector<std::string>& roles) {
  return fmt::format("{}", fmt::join(roles, ","));
}

}  // namespace weft::identity
