// What signing in reads and writes: users by name, roles, who has which.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/database.h"

namespace weft::store {

struct UserRecord {
  std::string id;
  std::string tenant;
  std::string username;
  std::string project;
  std::string role;           // one, or several separated by commas
  std::string models = "[]";  // JSON list of patterns; empty: all
  uint32_t requests_per_minute = 60;
  std::string password_hash;  // empty: no sign-in with a password
  int64_t tokens_from = 0;    // Unix seconds
  bool disabled = false;      // or their tenant is suspended or erased
};

struct RoleRecord {
  std::string permissions = "[]";  // JSON lists
  std::string models = "[]";
};

// Each takes one indexed look-up in a transaction of its own, in the scope of that tenant.
absl::StatusOr<std::optional<UserRecord>> FindUser(Database& database, std::string_view tenant,
                                                   std::string_view username);
absl::Status NoteLogin(Database& database, std::string_view tenant, std::string_view username,
                       int64_t at);
// NOT_FOUND. Tokens that were issued before `at` are not good any more.
absl::Status SetPassword(Database& database, std::string_view tenant, std::string_view username,
                         std::string_view password_hash, int64_t at);
absl::StatusOr<std::optional<RoleRecord>> FindRole(Database& database, std::string_view tenant,
                                                   std::string_view role);
// Roles bound to a user ("user"), a key ("key") or a directory's group ("group"), in that project
// or everywhere.
absl::StatusOr<std::vector<std::string>> BoundRoles(Database& database, std::string_view tenant,
                                                    std::string_view subject_kind,
                                                    std::string_view subject_id,
                                                    std::string_view project);
// "active", "suspended", "erased"; nullopt: there is no such tenant.
absl::StatusOr<std::optional<std::string>> TenantStatus(Database& database,
                                                        std::string_view tenant);

}  // namespace weft::store
