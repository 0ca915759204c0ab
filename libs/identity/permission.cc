#include "libs/identity/permission.h"

#include <array>

#include "libs/base/status.h"

namespace weft::identity {
namespace {

using P = Permission;

constexpr std::array<PermissionInfo, kPermissionCount> kTable = {{
    {P::kSelfRead, "self:read", "operator developer viewer auditor", "see who one is, and log out"},
    {P::kModelsRead, "models:read", "operator developer viewer auditor", "list models"},
    {P::kModelsUse, "models:use", "operator developer", "send requests to models"},
    {P::kModelsPrioritize, "models:prioritize", "operator", "ask for any priority"},
    {P::kModelsManage, "models:manage", "operator", "load and unload models"},
    {P::kKeysRead, "keys:read", "operator auditor", "list API keys, without their secrets"},
    {P::kKeysWrite, "keys:write", "", "make, rotate and revoke API keys"},
    {P::kTenantsRead, "tenants:read", "operator auditor", "see tenants"},
    {P::kTenantsWrite, "tenants:write", "", "make, change and delete tenants"},
    {P::kTenantsCross, "tenants:cross", "", "act on other tenants than one's own"},
    {P::kProjectsRead, "projects:read", "operator developer viewer auditor", "see projects"},
    {P::kProjectsWrite, "projects:write", "", "make, change and delete projects"},
    {P::kUsersRead, "users:read", "operator auditor", "see users"},
    {P::kUsersWrite, "users:write", "", "make, change and delete users"},
    {P::kRolesRead, "roles:read", "operator auditor", "see roles and what they may do"},
    {P::kRolesWrite, "roles:write", "", "make, change and delete custom roles"},
    {P::kQuotasRead, "quotas:read", "operator developer viewer auditor", "see limits and quotas"},
    {P::kQuotasWrite, "quotas:write", "operator", "change limits and quotas"},
    {P::kUsageRead, "usage:read", "operator developer viewer auditor", "see usage and cost"},
    {P::kAuditRead, "audit:read", "auditor", "read, verify and export the audit log"},
    {P::kDataExport, "data:export", "", "export what is stored of a tenant or user"},
    {P::kDataErase, "data:erase", "", "erase what is stored of a tenant or user"},
    {P::kSettingsRead, "settings:read", "operator auditor", "see settings"},
    {P::kSettingsWrite, "settings:write", "", "change settings and rotate encryption keys"},
    {P::kCacheRead, "cache:read", "operator auditor", "see what the response cache does"},
    {P::kCacheClear, "cache:clear", "operator", "take answers out of the response cache"},
}};

constexpr bool InOrder() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].permission) != i || kTable[i].name.empty()) return false;
  }
  return true;
}
static_assert(InOrder(), "each permission has its row, in the enum's order");

}  // namespace

std::span<const PermissionInfo> PermissionTable() { return kTable; }

std::string_view PermissionName(Permission permission) {
  return kTable[static_cast<size_t>(permission)].name;
}

std::optional<Permission> ParsePermission(std::string_view name) {
  for (const PermissionInfo& row : kTable) {
    if (row.name == name) return row.permission;
  }
  return std::nullopt;
}

absl::StatusOr<PermissionSet> ParsePermissions(std::span<const std::string> names) {
  PermissionSet set;
  for (const std::string& name : names) {
    if (const auto one = ParsePermission(name)) {
      set.Add(*one);
      continue;
    }
    bool found = name == "*";
    const std::string_view resource = std::string_view(name).substr(0, name.find('*'));
    const bool pattern = name == "*" || name.ends_with(":*");
    for (const PermissionInfo& row : kTable) {
      if (!pattern || !row.name.starts_with(resource)) continue;
      set.Add(row.permission);
      found = true;
    }
    if (!found) return InvalidArgument("there is no permission '{}'", name);
  }
  return set;
}

std::vector<std::string> PermissionNames(PermissionSet set) {
  std::vector<std::string> names;
  for (const PermissionInfo& row : kTable) {
    if (set.Has(row.permission)) names.emplace_back(row.name);
  }
  return names;
}

}  // namespace weft::identity
