#include "libs/identity/stored_users.h"

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/store/identity_store.h"

namespace weft::identity {

absl::StatusOr<std::optional<User>> StoredUsers::Find(std::string_view tenant,
                                                      std::string_view name) {
  WEFT_ASSIGN_OR_RETURN(std::optional<User> listed, first_->Find(tenant, name));
  if (listed) return listed;
  WEFT_ASSIGN_OR_RETURN(const auto record, store::FindUser(*database_, tenant, name));
  if (!record) return std::optional<User>();
  User user;
  user.name = record->username;
  user.tenant = record->tenant;
  user.project = record->project;
  user.role = record->role;
  user.password_hash = record->password_hash;
  user.requests_per_minute = record->requests_per_minute;
  user.disabled = record->disabled;
  user.tokens_from = record->tokens_from;
  WEFT_ASSIGN_OR_RETURN(user.bound_roles,
                        store::BoundRoles(*database_, tenant, "user", name, user.project));
  const auto models = nlohmann::json::parse(record->models, nullptr, false);
  if (!models.is_array()) return Internal("user {} has a bad list of models", record->id);
  for (const auto& model : models) {
    if (!model.is_string()) return Internal("user {} has a bad list of models", record->id);
    user.models.push_back(model.get<std::string>());
  }
  return std::optional<User>(std::move(user));
}

absl::Status StoredUsers::NoteLogin(std::string_view tenant, std::string_view name) {
  return store::NoteLogin(*database_, tenant, name, UnixSeconds(clock_.Wall()));
}

}  // namespace weft::identity
