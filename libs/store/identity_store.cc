#include "libs/store/identity_store.h"

#include "libs/base/status.h"
#include "libs/store/changes.h"

namespace weft::store {

absl::StatusOr<std::optional<UserRecord>> FindUser(Database& database, std::string_view tenant,
                                                   std::string_view username) {
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      database.ReadOne(
          Scope::Tenant(tenant),
          "SELECT u.id, u.tenant, u.username, u.project, u.role, u.models, u.requests_per_minute, "
          "u.password_hash, u.tokens_from, u.status, t.status FROM users u JOIN tenants t ON "
          "t.name = u.tenant WHERE u.tenant = $1 AND u.username = $2",
          {tenant, username}));
  if (found.rows.empty()) return std::optional<UserRecord>();
  const Row& row = found.rows[0];
  UserRecord user;
  user.id = row.Text(0);
  user.tenant = row.Text(1);
  user.username = row.Text(2);
  user.project = row.Text(3);
  user.role = row.Text(4);
  user.models = row.Text(5);
  user.requests_per_minute = static_cast<uint32_t>(row.Int(6));
  user.password_hash = row.Text(7);
  user.tokens_from = row.Int(8);
  user.disabled = row.Text(9) != "active" || row.Text(10) != "active";
  return std::optional<UserRecord>(std::move(user));
}

absl::Status NoteLogin(Database& database, std::string_view tenant, std::string_view username,
                       int64_t at) {
  return database
      .WriteOne(Scope::Tenant(tenant),
                "UPDATE users SET last_login_at = $3 WHERE tenant = $1 AND username = $2 AND "
                "last_login_at < $3",
                {tenant, username, at})
      .status();
}

absl::Status SetPassword(Database& database, std::string_view tenant, std::string_view username,
                         std::string_view password_hash, int64_t at) {
  return database.Write(Scope::Tenant(tenant), [&](Session& session) -> absl::Status {
    WEFT_ASSIGN_OR_RETURN(
        const Result done,
        session.Run("UPDATE users SET password_hash = $3, tokens_from = $4, updated_at = $4 WHERE "
                    "tenant = $1 AND username = $2",
                    {tenant, username, password_hash, at}));
    if (done.changed == 0) return NotFound("there is no user '{}'", username);
    return NoteChange(session, Topic::kIdentity);
  });
}

absl::StatusOr<std::optional<RoleRecord>> FindRole(Database& database, std::string_view tenant,
                                                   std::string_view role) {
  WEFT_ASSIGN_OR_RETURN(const Result found,
                        database.ReadOne(Scope::Tenant(tenant),
                                         "SELECT permissions, models FROM roles WHERE "
                                         "tenant = $1 AND name = $2",
                                         {tenant, role}));
  if (found.rows.empty()) return std::optional<RoleRecord>();
  return std::optional<RoleRecord>(RoleRecord{found.rows[0].Text(0), found.rows[0].Text(1)});
}

absl::StatusOr<std::vector<std::string>> BoundRoles(Database& database, std::string_view tenant,
                                                    std::string_view subject_kind,
                                                    std::string_view subject_id,
                                                    std::string_view project) {
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      database.ReadOne(Scope::Tenant(tenant),
                       "SELECT DISTINCT role FROM role_bindings WHERE tenant = $1 AND subject_kind "
                       "= $2 AND subject_id = $3 AND (project = '' OR project = $4) ORDER BY role",
                       {tenant, subject_kind, subject_id, project}));
  std::vector<std::string> roles;
  for (const Row& row : found.rows) roles.push_back(row.Text(0));
  return roles;
}

absl::StatusOr<std::optional<std::string>> TenantStatus(Database& database,
                                                        std::string_view tenant) {
  WEFT_ASSIGN_OR_RETURN(const Result found,
                        database.ReadOne(Scope::Tenant(tenant),
                                         "SELECT status FROM tenants WHERE name = $1", {tenant}));
  if (found.rows.empty()) return std::optional<std::string>();
  return std::optional<std::string>(found.rows[0].Text(0));
}

}  // namespace weft::store
