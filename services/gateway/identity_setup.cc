#include "services/gateway/identity_setup.h"

#include <cstdlib>

#include "libs/base/status.h"
#include "libs/identity/key_file.h"
#include "libs/identity/stored_users.h"
#include "libs/store/identity_store.h"
#include "libs/store/key_store.h"
#include "libs/store/resource.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway.identity");

absl::StatusOr<std::vector<store::KeyRecord>> DeclaredKeys(const Config& config) {
  if (config.keys_file.empty()) return std::vector<store::KeyRecord>();
  auto declared = identity::ReadKeyFile(config.keys_file);
  if (!declared.ok()) return Annotate(declared.status(), "gateway.keys_file");
  kLog.Info("read the keys file", {{"file", config.keys_file}, {"keys", declared->size()}});
  return declared;
}

// The variable that the documents name counts where the configuration says nothing.
absl::StatusOr<identity::TokenOptions> TokenSettings(const IdentityConfig& config) {
  identity::TokenOptions options = config.tokens;
  if (!options.secret.empty()) return options;
  const char* variable = std::getenv("JWT_SECRET_KEY");
  if (variable == nullptr || *variable == '\0') return options;
  options.secret = variable;
  if (options.secret.size() < identity::kMinTokenSecretBytes) {
    return InvalidArgument("JWT_SECRET_KEY: must have at least {} bytes (256 bits)",
                           identity::kMinTokenSecretBytes);
  }
  return options;
}

}  // namespace

LoginDeps Identity::Login() const {
  LoginDeps deps;
  deps.tokens = tokens.get();
  for (const auto& login : logins) deps.logins.push_back(login.get());
  deps.browser = browser_login.get();
  deps.tenant_exists = tenant_exists;
  return deps;
}

absl::StatusOr<Identity> MakeIdentity(const Config& config,
                                      const std::shared_ptr<store::Database>& database,
                                      std::shared_ptr<const identity::RoleDirectory> roles,
                                      std::shared_ptr<identity::SeenSet> seen) {
  Identity made;
  made.roles = std::move(roles);
  made.seen = std::move(seen);
  identity::KeyServiceOptions keys;
  keys.pepper = config.key_pepper;
  keys.roles = made.roles;
  keys.environment = config.identity.environment;
  if (config.identity.signed_requests) keys.nonces = made.seen;
  keys.bound_roles = [database](const store::KeyRecord& key) {
    return store::BoundRoles(*database, key.tenant, "key", key.id, key.project);
  };
  WEFT_ASSIGN_OR_RETURN(keys.declared, DeclaredKeys(config));
  made.keys =
      std::make_shared<identity::KeyService>(store::KeyStore::Over(database), std::move(keys));

  WEFT_ASSIGN_OR_RETURN(auto listed, identity::ListedUsers::Make(config.identity.users));
  made.users = std::make_shared<identity::StoredUsers>(database, std::move(listed));
  std::vector<std::shared_ptr<identity::Authenticator>> chain;
  WEFT_ASSIGN_OR_RETURN(identity::TokenOptions tokens, TokenSettings(config.identity));
  for (const identity::OidcOptions& options : config.identity.oidc) {
    made.providers.push_back(
        std::make_shared<identity::OidcProvider>(options, identity::NewFetcher(options.fetch)));
  }
  if (!tokens.secret.empty()) {
    made.tokens = std::make_shared<identity::TokenService>(std::move(tokens), made.roles,
                                                           made.users, made.seen);
    made.logins.push_back(std::make_unique<identity::DirectoryLogin>(made.users));
    if (config.identity.ldap.enabled()) {
      made.logins.push_back(std::make_unique<identity::LdapLogin>(config.identity.ldap));
    }
    made.browser_login = std::make_unique<identity::OidcLogin>(
        made.providers, made.tokens->DerivedSecret("oidc login cookie"));
    chain.push_back(made.tokens);
  }
  if (!made.providers.empty()) {
    chain.push_back(std::make_shared<identity::OidcAuthenticator>(made.providers, made.roles));
  }
  chain.push_back(made.keys);
  if (!config.identity.certificates.empty()) {
    WEFT_ASSIGN_OR_RETURN(auto certificates, identity::CertificateAuthenticator::Make(
                                                 config.identity.certificates, *made.roles));
    chain.push_back(std::move(certificates));
  }
  made.tenant_exists = [database](const std::string& tenant) {
    if (!store::IsResourceName(tenant)) return false;
    const auto status = store::TenantStatus(*database, tenant);
    return status.ok() && status->has_value();
  };
  made.authenticator = std::make_unique<identity::AuthenticatorChain>(std::move(chain));
  return made;
}

}  // namespace weft::gateway
