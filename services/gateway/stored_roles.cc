#include "services/gateway/stored_roles.h"

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/store/identity_store.h"

namespace weft::gateway {
namespace {

std::vector<std::string> Texts(const std::string& list) {
  std::vector<std::string> out;
  const auto parsed = nlohmann::json::parse(list, nullptr, false);
  if (!parsed.is_array()) return out;
  for (const auto& text : parsed) {
    if (text.is_string()) out.push_back(text.get<std::string>());
  }
  return out;
}

}  // namespace

absl::StatusOr<identity::RoleGrantPtr> StoredRoles::Find(std::string_view tenant,
                                                         std::string_view role) const {
  WEFT_ASSIGN_OR_RETURN(identity::RoleGrantPtr known, first_->Find(tenant, role));
  if (known != nullptr) return known;
  WEFT_ASSIGN_OR_RETURN(const auto found, store::FindRole(*database_, tenant, role));
  if (!found) return identity::RoleGrantPtr();
  identity::RoleGrant grant;
  auto permissions = identity::ParsePermissions(Texts(found->permissions));
  // A permission of a newer program: the role gives nothing rather than something else.
  if (permissions.ok()) grant.permissions = *permissions;
  // What belongs to the operators is not a tenant's to give.
  if (grant.permissions.Has(identity::Permission::kTenantsCross)) return identity::RoleGrantPtr();
  grant.models = Texts(found->models);
  return std::make_shared<const identity::RoleGrant>(std::move(grant));
}

}  // namespace weft::gateway
