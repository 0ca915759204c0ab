// The `gateway.identity` section of the configuration: who may come in, and as what.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <vector>

#include "libs/identity/role.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct IdentityConfig {
  std::vector<identity::RoleBook::Custom> roles;

  absl::Status Validate() const;
  // The built-in roles and the custom ones.
  absl::StatusOr<std::shared_ptr<const identity::RoleDirectory>> Roles() const;
};

void Bind(config::Binder& binder, IdentityConfig& config);

}  // namespace weft::gateway
