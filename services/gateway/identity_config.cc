#include "services/gateway/identity_config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/identity/api_key.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;

void BindOidc(config::Binder& b, identity::OidcOptions& o) {
  b.Text("name", &o.name, "in URLs, logs and subjects: letters, digits, '.', '_', '-'", 1, 64);
  b.Text("issuer", &o.issuer, "`iss` of its tokens; its discovery document is found below it", 1);
  b.List("audiences", &o.audiences, 16, "`aud` of bearer tokens that are for this gateway");
  b.List("algorithms", &o.algorithms, 6,
         "of its RSA keys that name none: RS256, RS384, RS512, PS256, PS384, PS512");
  b.Text("client_id", &o.client_id, "for signing in with a browser; empty = bearer tokens alone");
  b.Secret("client_secret", &o.client_secret, "of that client; empty = a public one");
  b.Text("redirect_uri", &o.redirect_uri,
         "this gateway's /auth/oidc/callback, as browsers reach it");
  b.List("scopes", &o.scopes, 32, "that are asked for when signing in");
  b.Text("subject_claim", &o.subject_claim, "who it is; a/b is b in a");
  b.Text("tenant_claim", &o.tenant_claim, "whose it is; empty, or not in a token = `tenant`");
  b.Text("tenant", &o.tenant, "where the claim says nothing", 1, 100);
  b.Text("roles_claim", &o.roles_claim, "a text or a list of texts; a/b is b in a");
  b.Map("roles", &o.roles, 256, "what is in that claim -> role here; other texts mean nothing");
  b.Text("default_role", &o.default_role, "of tokens without any of these; empty = refused");
  b.Int("requests_per_minute", &o.requests_per_minute, 1, 1'000'000, "of each of its users");
  b.Duration("skew", &o.skew, 0s, 10min, "by which its clock may differ");
  b.Duration("refresh", &o.refresh, 1s, 24h, "how often its keys are fetched");
  b.Duration("shortest_refresh", &o.shortest, 10ms, 10min,
             "between two fetches, however many unknown keys are seen; doubles after failures");
  b.Duration("longest_back_off", &o.longest, 1s, 24h, "between two attempts after failures");
  b.Duration("stale_limit", &o.stale_limit, 1s, 720h,
             "keys that could not be fetched again for so long are not good any more");
  b.Text("ca_file", &o.fetch.ca_file, "PEM: whom to trust; empty = the system's roots");
  b.Bool("allow_http", &o.fetch.allow_http, "take http:// URLs, for a provider on this machine");
  b.Duration("timeout", &o.fetch.timeout, 100ms, 60s, "for one exchange with the provider");
}

void BindLdap(config::Binder& b, identity::LdapOptions& o) {
  b.List("urls", &o.urls, 8, "ldap://, ldaps:// or ldapi://; empty = no directory");
  b.Bool("start_tls", &o.start_tls, "TLS on ldap:// before anything is sent");
  b.Text("ca_file", &o.ca_file, "PEM: whom to trust; empty = the system's roots");
  b.Text("bind_dn", &o.bind_dn, "who looks people up; empty = nobody in particular");
  b.Secret("bind_password", &o.bind_password, "of bind_dn");
  b.Text("user_base", &o.user_base, "below it people are");
  b.Text("user_filter", &o.user_filter, "finds one person; {username} is what was typed, escaped");
  b.Text("group_base", &o.group_base, "below it groups are; empty = those in member_of");
  b.Text("group_filter", &o.group_filter, "finds a person's groups; {dn} and {username}, escaped");
  b.Text("member_of", &o.member_of, "of a person: the DNs of their groups", 1);
  b.Map("roles", &o.roles, 256, "a group's DN, or its cn -> role here");
  b.Text("default_role", &o.default_role, "in none of these groups; empty = refused");
  b.Text("tenant", &o.tenant, "of all of them", 1, 100);
  b.Int("requests_per_minute", &o.requests_per_minute, 1, 1'000'000, "of each of them");
  b.Int("connections", &o.connections, 0, 64, "kept for looking up");
  b.Duration("timeout", &o.timeout, 100ms, 60s, "for one exchange with the directory");
}

}  // namespace

void Bind(config::Binder& b, IdentityConfig& c) {
  b.Text("environment", &c.environment,
         "in the text of new keys, and decides about their rate where none is given (dev 100 a "
         "minute, "
         "prod 1000, others 60): 1 to 16 of a-z and 0-9. ENVIRONMENT sets its default",
         1, 16);
  b.Bool(
      "signed_requests", &c.signed_requests,
      "take requests that are signed with a key's signing secret; needs a key_pepper of at least "
      "32 bytes");
  b.Objects<identity::RoleBook::Custom>(
      "roles", &c.roles, 256, "custom roles, for every tenant, besides the built-in ones",
      [](config::Binder& role, identity::RoleBook::Custom& r) {
        role.Text("name", &r.name, "letters, digits, '.', '_', '-'", 1, 64);
        role.List("permissions", &r.permissions, 64,
                  "such as models:use, keys:* or *; `weftctl permissions` lists them");
        role.List("models", &r.models, 256,
                  "ids of models, or beginnings with '*' at the end; empty = all");
      });
  b.Objects<identity::User>(
      "users", &c.users, 1000, "people who sign in with a password",
      [](config::Binder& user, identity::User& u) {
        user.Text("name", &u.name, "unique in the tenant", 1, 128);
        user.Text("tenant", &u.tenant, "letters, digits, '.', '_', '-'", 1, 100);
        user.Text("project", &u.project, "empty = none");
        user.Text("role", &u.role, "one, or several separated by commas", 1);
        user.List("models", &u.models, 256, "that they may use of their roles'; empty = all");
        user.Secret("password_hash", &u.password_hash, "as `weftctl hash-password` prints it");
        user.Int("requests_per_minute", &u.requests_per_minute, 1, 1'000'000, "their rate limit");
        user.Bool("disabled", &u.disabled, "they cannot sign in, and their tokens end");
      });
  b.Secret("jwt_secret", &c.tokens.secret,
           "signs tokens: at least 32 bytes, the same in all gateways; the variable JWT_SECRET_KEY "
           "where it is empty; without either nobody can sign in");
  b.Secret("jwt_previous_secret", &c.tokens.previous_secret,
           "still good for tokens that were issued before jwt_secret was replaced");
  b.Text("token_issuer", &c.tokens.issuer, "`iss` and `aud` of tokens", 1, 100);
  b.Duration("token_lifetime", &c.tokens.lifetime, 1s, 24h, "of a token of /auth/login");
  b.Duration("session_lifetime", &c.tokens.session_lifetime, 1min, 720h, "of a browser's session");
  b.Int("failed_logins", &c.failed_logins.requests, 1, 1'000'000,
        "of one user in failed_logins_window, whatever the address; beyond, 429");
  b.Duration("failed_logins_window", &c.failed_logins.window, 1s, 24h, "see failed_logins");
  b.Section("ldap", "A directory of people (LDAP); they sign in with POST /auth/login.",
            [&](config::Binder& ldap) { BindLdap(ldap, c.ldap); });
  b.Objects<identity::CertificateIdentity>(
      "certificates", &c.certificates, 256,
      "programs that show a client certificate on the gRPC listener "
      "(grpc_tls.request_client_certificate)",
      [](config::Binder& one, identity::CertificateIdentity& o) {
        one.Text("san", &o.san, "a subject alternative name, whole: a URI, a DNS name", 1);
        one.Text("name", &o.name, "for people; empty = the san");
        one.Text("tenant", &o.tenant, "whose it is", 1, 100);
        one.Text("role", &o.role, "one, or several separated by commas", 1);
        one.Int("requests_per_minute", &o.requests_per_minute, 1, 1'000'000, "its rate limit");
      });
  b.Objects<identity::OidcOptions>("oidc", &c.oidc, 16, "OpenID Connect providers", &BindOidc);
}

absl::StatusOr<std::shared_ptr<const identity::RoleDirectory>> IdentityConfig::Roles() const {
  auto book = std::make_shared<identity::RoleBook>();
  for (const identity::RoleBook::Custom& role : roles) {
    WEFT_RETURN_IF_ERROR(Annotate(book->Add(role), "gateway.identity.roles"));
  }
  return std::shared_ptr<const identity::RoleDirectory>(std::move(book));
}

absl::Status IdentityConfig::Validate() const {
  if (!identity::IsEnvironmentName(environment)) {
    return InvalidArgument("gateway.identity.environment: must be 1 to 16 of a-z and 0-9");
  }
  WEFT_RETURN_IF_ERROR(Annotate(tokens.Validate(), "gateway.identity"));
  WEFT_RETURN_IF_ERROR(
      Annotate(identity::ListedUsers::Make(users).status(), "gateway.identity.users"));
  for (size_t i = 0; i < oidc.size(); ++i) {
    WEFT_RETURN_IF_ERROR(Annotate(oidc[i].Validate(), fmt::format("gateway.identity.oidc[{}]", i)));
  }
  WEFT_RETURN_IF_ERROR(Annotate(ldap.Validate(), "gateway.identity.ldap"));
  WEFT_ASSIGN_OR_RETURN(const auto book, Roles());
  return Annotate(identity::CertificateAuthenticator::Make(certificates, *book).status(),
                  "gateway.identity.certificates");
}

absl::Status ApplyDocumentedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& environment, IdentityConfig& identity) {
  for (const auto& [name, value] : environment) {
    if (name != "ENVIRONMENT" || value.empty()) continue;
    const std::string_view known = value == "development"  ? "dev"
                                   : value == "production" ? "prod"
                                                           : std::string_view(value);
    if (!identity::IsEnvironmentName(known)) {
      return InvalidArgument("environment ENVIRONMENT: must be 1 to 16 of a-z and 0-9");
    }
    identity.environment = known;
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
