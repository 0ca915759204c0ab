#include "libs/identity/oidc_provider.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/key_service.h"
#include "libs/json/strict_json.h"
#include "libs/telemetry/log.h"

namespace weft::identity {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

const telemetry::Logger kLog("identity.oidc");
constexpr size_t kMaxKeysTried = 4;  // of a token without a kid

const json* ClaimAt(const json& claims, std::string_view path) {
  const json* at = &claims;
  while (true) {
    const size_t slash = path.find('/');
    if (!at->is_object()) return nullptr;
    const auto it = at->find(std::string(path.substr(0, slash)));
    if (it == at->end()) return nullptr;
    at = &*it;
    if (slash == std::string_view::npos) return at;
    path.remove_prefix(slash + 1);
  }
}

std::vector<std::string> Texts(const json* claim) {
  std::vector<std::string> texts;
  if (claim == nullptr) return texts;
  if (claim->is_string()) texts.push_back(claim->get<std::string>());
  if (!claim->is_array()) return texts;
  for (const json& one : *claim) {
    if (one.is_string()) texts.push_back(one.get<std::string>());
  }
  return texts;
}

absl::Status KeysAreAway() {
  return WithRetryAfter(Unavailable("The keys of the token's issuer are not known at the moment."),
                        std::chrono::seconds(1));
}

}  // namespace

absl::Status OidcOptions::Validate() const {
  const auto https = [&](const std::string& url) {
    return url.starts_with("https://") || (fetch.allow_http && url.starts_with("http://"));
  };
  if (!IsRoleName(name)) return InvalidArgument("name: must be letters, digits, '.', '_' or '-'");
  if (!https(issuer)) {
    return InvalidArgument("issuer: must be an https:// URL");
  }
  if (audiences.empty() && client_id.empty()) {
    return InvalidArgument("audiences: give at least one, or a client_id");
  }
  if (!client_id.empty() && redirect_uri.empty()) {
    return InvalidArgument("redirect_uri: is needed with a client_id");
  }
  for (const std::string& algorithm : algorithms) {
    const auto known = ParseJwsAlgorithm(algorithm);
    if (!known || FamilyOf(*known) == JwsFamily::kHmac) {
      return InvalidArgument("algorithms: '{}' is not taken", algorithm);
    }
  }
  for (const auto& [claim, role] : roles) {
    if (!ParseRoles(role).ok()) return InvalidArgument("roles: '{}' is no role", role);
  }
  if (!default_role.empty() && !ParseRoles(default_role).ok()) {
    return InvalidArgument("default_role: '{}' is no role", default_role);
  }
  return CheckKeyFields(
      {.name = "x", .tenant = tenant, .requests_per_minute = requests_per_minute});
}

OidcProvider::OidcProvider(OidcOptions options, std::unique_ptr<Fetcher> fetcher, Clock& clock)
    : options_(std::move(options)), fetcher_(std::move(fetcher)), clock_(clock) {
  for (const std::string& algorithm : options_.algorithms) {
    if (const auto known = ParseJwsAlgorithm(algorithm)) rsa_algorithms_.push_back(*known);
  }
  thread_ = std::thread([this] { Run(); });
}

OidcProvider::~OidcProvider() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void OidcProvider::Run() {
  milliseconds wait{0};
  milliseconds back_off = options_.shortest;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_for(lock, wait, [this] { return stop_ || asked_; });
    if (stop_) return;
    lock.unlock();
    const absl::Status status = Refresh();
    lock.lock();
    if (status.ok()) {
      wait = options_.refresh;
      back_off = options_.shortest;
    } else {
      kLog.Warning("an issuer's keys could not be fetched",
                   {{"issuer", options_.name}, {"exception", status}});
      wait = back_off;
      back_off = std::min(back_off * 2, options_.longest);
    }
  }
}

bool OidcProvider::AskForRefresh() {
  std::lock_guard lock(mutex_);
  if (asked_ || fetching_) return true;
  if (clock_.Now() - last_attempt_ < options_.shortest) return false;
  asked_ = true;
  changed_.notify_all();
  return true;
}

absl::StatusOr<std::string> OidcProvider::Get(const std::string& url) {
  WEFT_ASSIGN_OR_RETURN(FetchAnswer answer, fetcher_->Fetch({.url = url}));
  if (answer.status != 200) return Unavailable("{}: answered {}", url, answer.status);
  return std::move(answer.body);
}

absl::Status OidcProvider::Refresh() {
  const std::lock_guard one_at_a_time(refresh_mutex_);
  {
    std::lock_guard lock(mutex_);
    asked_ = false;
    fetching_ = true;
    last_attempt_ = clock_.Now();
  }
  struct Done {
    OidcProvider& self;
    ~Done() {
      std::lock_guard lock(self.mutex_);
      self.fetching_ = false;
    }
  } done{*this};
  std::string base = options_.issuer;
  while (base.ends_with('/')) base.pop_back();
  const std::string url = base + "/.well-known/openid-configuration";
  WEFT_ASSIGN_OR_RETURN(const std::string text, Get(url));
  WEFT_ASSIGN_OR_RETURN(const json document,
                        ParseStrictJson(text, {.depth = 16, .values = 20'000}));
  if (!document.is_object() || TextClaim(document, "issuer") != options_.issuer) {
    return FailedPrecondition("{}: is of another issuer", url);
  }
  WEFT_ASSIGN_OR_RETURN(const std::string set, Get(TextClaim(document, "jwks_uri")));
  auto keys = std::make_shared<Keys>();
  WEFT_ASSIGN_OR_RETURN(keys->list, ParseJwkSet(set, rsa_algorithms_));
  if (keys->list.empty()) return FailedPrecondition("{}: has no key that can be used", url);
  keys->fetched = clock_.Now();
  std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
  endpoints_ = {TextClaim(document, "authorization_endpoint"),
                TextClaim(document, "token_endpoint"), TextClaim(document, "end_session_endpoint")};
  return absl::OkStatus();
}

absl::StatusOr<OidcEndpoints> OidcProvider::endpoints() {
  std::lock_guard lock(mutex_);
  if (!endpoints_) return KeysAreAway();
  return *endpoints_;
}

absl::StatusOr<std::optional<json>> OidcProvider::Verify(
    const UncheckedToken& token, const std::vector<std::string>& audiences) {
  std::shared_ptr<const Keys> keys;
  {
    std::lock_guard lock(mutex_);
    keys = keys_;
  }
  if (!keys || clock_.Now() - keys->fetched > options_.stale_limit) {
    AskForRefresh();
    return KeysAreAway();
  }
  size_t tried = 0;
  bool known = false;
  for (const JwsKey& key : keys->list) {
    if (!token.kid.empty() && token.kid != key.kid()) continue;
    known = true;
    if (!key.Takes(token.algorithm) || ++tried > kMaxKeysTried) continue;
    if (!identity::Verify(token, key)) continue;
    auto claims = ParseClaims(token);
    if (!claims.ok()) return TokenInvalid();
    WEFT_RETURN_IF_ERROR(
        CheckClaims(*claims, {options_.issuer, audiences, options_.skew}, clock_.Wall()));
    return std::optional<json>(*std::move(claims));
  }
  // A name that is not known may be that of a new key. How often that is looked up is bounded.
  if (!known && AskForRefresh()) return KeysAreAway();
  return std::optional<json>();
}

absl::StatusOr<User> OidcProvider::UserOf(const json& claims) const {
  User user;
  const auto subjects = Texts(ClaimAt(claims, options_.subject_claim));
  if (subjects.size() != 1 || !IsUserName(subjects.front())) return TokenWithoutSubject();
  user.name = subjects.front();
  user.tenant = options_.tenant;
  user.requests_per_minute = options_.requests_per_minute;
  if (!options_.tenant_claim.empty()) {
    const auto tenants = Texts(ClaimAt(claims, options_.tenant_claim));
    if (tenants.size() > 1) return TokenInvalid();
    if (!tenants.empty()) user.tenant = tenants.front();
  }
  std::vector<std::string> roles;
  for (const std::string& text : Texts(ClaimAt(claims, options_.roles_claim))) {
    const auto it = options_.roles.find(text);
    if (it == options_.roles.end()) continue;
    if (std::find(roles.begin(), roles.end(), it->second) == roles.end()) {
      roles.push_back(it->second);
    }
  }
  if (roles.empty() && !options_.default_role.empty()) roles.push_back(options_.default_role);
  user.role = JoinRoles(roles);
  if (!CheckKeyFields({.name = "x", .tenant = user.tenant, .role = user.role}).ok()) {
    return TokenInvalid();
  }
  return user;
}

absl::StatusOr<PrincipalPtr> OidcAuthenticator::Authenticate(const Credentials& credentials) {
  const std::string_view text = BearerToken(credentials.authorization);
  if (!LooksLikeToken(text)) return PrincipalPtr();
  const auto token = ParseToken(text);
  if (!token.ok()) return TokenInvalid();
  if (FamilyOf(token->algorithm) == JwsFamily::kHmac) return PrincipalPtr();
  absl::Status away;
  for (const auto& provider : providers_) {
    if (provider->options().audiences.empty()) continue;
    auto claims = provider->Verify(*token, provider->options().audiences);
    if (!claims.ok() && claims.status().code() == absl::StatusCode::kUnavailable) {
      away = claims.status();
      continue;
    }
    WEFT_RETURN_IF_ERROR(claims.status());
    if (!*claims) continue;
    WEFT_ASSIGN_OR_RETURN(User user, provider->UserOf(**claims));
    auto principal = std::make_shared<Principal>();
    principal->subject = "oidc:" + provider->options().name + ":" + user.name;
    principal->key_id = principal->subject;
    principal->name = user.name;
    principal->tenant = user.tenant;
    principal->requests_per_minute = user.requests_per_minute;
    principal->method = AuthMethod::kOidc;
    WEFT_ASSIGN_OR_RETURN(std::vector<std::string> roles, ParseRoles(user.role));
    WEFT_RETURN_IF_ERROR(GrantRoles(*roles_, std::move(roles), *principal));
    return PrincipalPtr(std::move(principal));
  }
  if (!away.ok()) return away;
  return TokenInvalid();
}

}  // namespace weft::identity
