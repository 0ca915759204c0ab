// The `gateway.identity` section of the configuration: who may come in, and as what.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/identity/certificate_names.h"
#include "libs/identity/ldap_login.h"
#include "libs/identity/oidc_provider.h"
#include "libs/identity/role.h"
#include "libs/identity/token_service.h"
#include "libs/identity/user.h"
#include "libs/limits/rate_limiter.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct IdentityConfig {
  std::string environment = "dev";  // in the text of new keys
  bool signed_requests = true;      // taken where the pepper is long enough
  std::vector<identity::RoleBook::Custom> roles;
  std::vector<identity::User> users;
  identity::TokenOptions tokens;
  limits::Limit failed_logins{.requests = 10, .window = std::chrono::seconds(300)};  // of one user
  std::vector<identity::OidcOptions> oidc;
  identity::LdapOptions ldap;
  std::vector<identity::CertificateIdentity> certificates;

  absl::Status Validate() const;
  // The built-in roles and the custom ones.
  absl::StatusOr<std::shared_ptr<const identity::RoleDirectory>> Roles() const;
};

void Bind(config::Binder& binder, IdentityConfig& config);

// ENVIRONMENT sets the default of `environment`; "development" and "production" are dev and prod.
// INVALID_ARGUMENT names the variable.
absl::Status ApplyDocumentedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& environment, IdentityConfig& identity);

}  // namespace weft::gateway
