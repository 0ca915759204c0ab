// The parts of the gateway that know who somebody is, made from the configuration.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/identity/authenticator.h"
#include "libs/identity/key_service.h"
#include "libs/identity/oidc_login.h"
#include "libs/identity/oidc_provider.h"
#include "libs/identity/seen_set.h"
#include "libs/identity/token_service.h"
#include "libs/identity/user.h"
#include "libs/store/database.h"
#include "services/gateway/auth_routes.h"
#include "services/gateway/config.h"

namespace weft::gateway {

struct Identity {
  std::shared_ptr<const identity::RoleDirectory> roles;
  std::shared_ptr<identity::SeenSet> seen;  // nonces, and tokens that were revoked
  std::shared_ptr<identity::KeyService> keys;
  std::shared_ptr<identity::UserDirectory> users;
  std::shared_ptr<identity::TokenService> tokens;  // nullptr: nobody can sign in
  std::vector<std::unique_ptr<identity::PasswordLogin>> logins;
  std::vector<std::shared_ptr<identity::OidcProvider>> providers;
  std::unique_ptr<identity::OidcLogin> browser_login;  // nullptr without tokens
  std::unique_ptr<identity::AuthenticatorChain> authenticator;
  std::function<bool(const std::string& tenant)> tenant_exists;

  // What /auth needs; the rest of it is the server's.
  LoginDeps Login() const;
};

// `seen` is shared by all gateways where there are several. Errors name the key of the
// configuration.
absl::StatusOr<Identity> MakeIdentity(const Config& config,
                                      const std::shared_ptr<store::Database>& database,
                                      std::shared_ptr<const identity::RoleDirectory> roles,
                                      std::shared_ptr<identity::SeenSet> seen);

}  // namespace weft::gateway
