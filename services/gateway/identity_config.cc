#include "services/gateway/identity_config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::gateway {

void Bind(config::Binder& b, IdentityConfig& c) {
  b.Objects<identity::RoleBook::Custom>(
      "roles", &c.roles, 256, "custom roles, for every tenant, besides the built-in ones",
      [](config::Binder& role, identity::RoleBook::Custom& r) {
        role.Text("name", &r.name, "letters, digits, '.', '_', '-'", 1, 64);
        role.List("permissions", &r.permissions, 64,
                  "such as models:use, keys:* or *; `weftctl permissions` lists them");
        role.List("models", &r.models, 256,
                  "ids of models, or beginnings with '*' at the end; empty = all");
      });
}

absl::StatusOr<std::shared_ptr<const identity::RoleDirectory>> IdentityConfig::Roles() const {
  auto book = std::make_shared<identity::RoleBook>();
  for (const identity::RoleBook::Custom& role : roles) {
    WEFT_RETURN_IF_ERROR(Annotate(book->Add(role), "gateway.identity.roles"));
  }
  return std::shared_ptr<const identity::RoleDirectory>(std::move(book));
}

absl::Status IdentityConfig::Validate() const { return Roles().status(); }

}  // namespace weft::gateway
