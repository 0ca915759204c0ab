#include "libs/identity/token_service.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/cookie.h"

namespace weft::identity {
namespace {

using nlohmann::json;

constexpr std::string_view kAccessType = "jwt";
constexpr std::string_view kSessionType = "weft-session";
constexpr size_t kMaxKnownUsers = 10'000;

std::string NewTokenId() {
  std::array<uint8_t, 16> bytes;
  RandomBytes(bytes);
  return Hex(bytes);
}

std::string Mac(std::string_view text, std::string_view secret) {
  std::array<uint8_t, 32> mac{};
  unsigned int size = 0;
  const auto* made =
      HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(), &size);
  WEFT_CHECK(made != nullptr && size == mac.size());
  return {reinterpret_cast<const char*>(mac.data()), mac.size()};
}

// RFC 9110 section 9.2.1.
bool IsSafe(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS";
}

// A user as a token of a source other than the local users carries it. False for claims of other
// types than Issue writes.
bool ReadUser(const json& claims, User& user) {
  user.name = TextClaim(claims, "sub");
  user.tenant = TextClaim(claims, "tenant");
  user.project = TextClaim(claims, "project");
  user.role = TextClaim(claims, "roles");
  if (const auto rpm = claims.find("rpm"); rpm != claims.end()) {
    if (!rpm->is_number_unsigned() || rpm->get<uint64_t>() > 1'000'000) return false;
    user.requests_per_minute = rpm->get<uint32_t>();
  }
  const auto models = claims.find("models");
  if (models == claims.end()) return true;
  if (!models->is_array()) return false;
  for (const json& model : *models) {
    if (!model.is_string()) return false;
    user.models.push_back(model.get<std::string>());
  }
  return true;
}

// CheckClaims has seen that it is a number where it is there.
int64_t IssuedAt(const json& claims) {
  const auto it = claims.find("iat");
  return it == claims.end() ? 0 : it->get<int64_t>();
}

}  // namespace

absl::Status TokenOptions::Validate() const {
  for (const auto& [name, text] :
       {std::pair("jwt_secret", &secret), std::pair("jwt_previous_secret", &previous_secret)}) {
    if (!text->empty() && text->size() < kMinTokenSecretBytes) {
      return InvalidArgument("{}: must have at least {} bytes (256 bits)", name,
                             kMinTokenSecretBytes);
    }
  }
  return absl::OkStatus();
}

TokenService::TokenService(TokenOptions options, std::shared_ptr<const RoleDirectory> roles,
                           std::shared_ptr<UserDirectory> users, std::shared_ptr<SeenSet> revoked,
                           Clock& clock)
    : options_(std::move(options)),
      roles_(std::move(roles)),
      users_(std::move(users)),
      revoked_(std::move(revoked)),
      clock_(clock) {
  WEFT_CHECK(options_.secret.size() >= kMinTokenSecretBytes);
}

std::string TokenService::DerivedSecret(std::string_view purpose) const {
  return Mac("weft secret for " + std::string(purpose), options_.secret);
}

std::string TokenService::CsrfOf(std::string_view id) const {
  const std::string mac = Mac(id, DerivedSecret("csrf"));
  return Hex({reinterpret_cast<const uint8_t*>(mac.data()), mac.size()});
}

IssuedToken TokenService::Issue(const User& user, std::string_view source, TokenKind kind) const {
  const int64_t now = UnixSeconds(clock_.Wall());
  IssuedToken issued;
  issued.id = NewTokenId();
  issued.lifetime = kind == TokenKind::kAccess ? options_.lifetime : options_.session_lifetime;
  json claims = {{"iss", options_.issuer}, {"aud", options_.issuer},
                 {"sub", user.name},       {"iat", now},
                 {"jti", issued.id},       {"exp", now + issued.lifetime.count()},
                 {"tenant", user.tenant},  {"src", source}};
  if (source != kLocalSource) {
    claims["roles"] = user.role;
    claims["rpm"] = user.requests_per_minute;
    if (!user.project.empty()) claims["project"] = user.project;
    if (!user.models.empty()) claims["models"] = user.models;
  }
  issued.text =
      SignHmac(claims, kind == TokenKind::kAccess ? "JWT" : kSessionType, options_.secret);
  if (kind == TokenKind::kSession) issued.csrf = CsrfOf(issued.id);
  return issued;
}

absl::StatusOr<std::optional<User>> TokenService::FindUser(const std::string& tenant,
                                                           const std::string& name) {
  if (!users_) return std::optional<User>();
  const std::string key = tenant + '\0' + name;
  const SteadyTime now = clock_.Now();
  {
    std::lock_guard lock(mutex_);
    if (const auto it = known_.find(key); it != known_.end() && it->second.until > now) {
      return it->second.user;
    }
  }
  WEFT_ASSIGN_OR_RETURN(std::optional<User> user, users_->Find(tenant, name));
  std::lock_guard lock(mutex_);
  if (known_.size() >= kMaxKnownUsers) known_.clear();
  known_[key] = {user, now + options_.user_cache};
  return user;
}

absl::StatusOr<PrincipalPtr> TokenService::Check(const UncheckedToken& token, TokenKind kind) {
  const bool good =
      token.type == (kind == TokenKind::kAccess ? kAccessType : kSessionType) &&
      (VerifyHmac(token, options_.secret) || VerifyHmac(token, options_.previous_secret));
  if (!good) return TokenInvalid();
  const auto claims = ParseClaims(token);
  if (!claims.ok()) return TokenInvalid();
  WEFT_RETURN_IF_ERROR(
      CheckClaims(*claims, {options_.issuer, {options_.issuer}, options_.skew}, clock_.Wall()));
  const std::string id = TextClaim(*claims, "jti");
  const std::string source = TextClaim(*claims, "src");
  if (id.empty() || source.empty()) return TokenInvalid();
  WEFT_ASSIGN_OR_RETURN(const bool revoked, revoked_->Contains("jti:" + id));
  if (revoked) return TokenInvalid();
  User user;
  if (!ReadUser(*claims, user)) return TokenInvalid();
  if (source == kLocalSource) {
    WEFT_ASSIGN_OR_RETURN(const std::optional<User> found, FindUser(user.tenant, user.name));
    if (!found || found->disabled || IssuedAt(*claims) < found->tokens_from) {
      return TokenInvalid();
    }
    user = *found;
  }
  auto principal = std::make_shared<Principal>();
  principal->subject =
      source == kLocalSource ? "user:" + user.name : "user:" + source + ":" + user.name;
  principal->key_id = principal->subject + "@" + user.tenant;
  principal->name = user.name;
  principal->tenant = user.tenant;
  principal->project = user.project;
  principal->requests_per_minute = user.requests_per_minute;
  principal->method = kind == TokenKind::kAccess ? AuthMethod::kToken : AuthMethod::kSession;
  principal->token_id = id;
  auto roles = ParseRoles(user.role);
  if (!roles.ok()) return TokenInvalid();
  AddRoles(*roles, user.bound_roles);
  WEFT_RETURN_IF_ERROR(GrantRoles(*roles_, *std::move(roles), *principal));
  principal->models.Restrict(std::move(user.models));
  return PrincipalPtr(std::move(principal));
}

absl::StatusOr<PrincipalPtr> TokenService::Authenticate(const Credentials& credentials) {
  if (!credentials.authorization.empty()) {
    const std::string_view text = BearerToken(credentials.authorization);
    if (!LooksLikeToken(text)) return PrincipalPtr();
    const auto token = ParseToken(text);
    if (!token.ok()) return TokenInvalid();
    if (token->algorithm != JwsAlgorithm::kHs256) return PrincipalPtr();
    return Check(*token, TokenKind::kAccess);
  }
  if (credentials.cookie.empty() || !credentials.api_key.empty()) return PrincipalPtr();
  const auto cookie = FindCookie(credentials.cookie, kSessionCookie);
  if (!cookie) return PrincipalPtr();
  const auto token = ParseToken(*cookie);
  if (!token.ok()) return TokenInvalid();
  WEFT_ASSIGN_OR_RETURN(PrincipalPtr principal, Check(*token, TokenKind::kSession));
  if (!IsSafe(credentials.method) &&
      !ConstantTimeEquals(credentials.csrf_token, CsrfOf(principal->token_id))) {
    return PermissionDenied("The session's X-CSRF-Token header is missing or wrong.");
  }
  return principal;
}

absl::Status TokenService::Revoke(const Principal& principal) {
  if (principal.token_id.empty()) return absl::OkStatus();
  const auto longest = std::max(options_.lifetime, options_.session_lifetime) + options_.skew;
  return revoked_->Add("jti:" + principal.token_id, longest).status();
}

}  // namespace weft::identity
