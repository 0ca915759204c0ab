// One issuer of tokens (OpenID Connect Discovery 1.0, RFC 8414): its keys, kept fresh by a thread
// of its own, and what its claims mean here.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/base/clock.h"
#include "libs/identity/authenticator.h"
#include "libs/identity/fetch.h"
#include "libs/identity/jwt.h"
#include "libs/identity/role.h"
#include "libs/identity/user.h"

namespace weft::identity {

struct OidcOptions {
  std::string name;    // in URLs, logs and subjects: letters, digits, '-', '_'
  std::string issuer;  // "iss" of its tokens; /.well-known/openid-configuration is below it
  std::vector<std::string> audiences;               // of bearer tokens that are for this gateway
  std::vector<std::string> algorithms = {"RS256"};  // of RSA keys that name none themselves
  // For signing in with a browser; empty: only bearer tokens are taken.
  std::string client_id = {};
  std::string client_secret = {};
  std::string redirect_uri = {};  // this gateway's /auth/oidc/callback, as browsers reach it
  std::vector<std::string> scopes = {"openid", "profile", "email"};

  // What claims mean. Claims below others are written with '/': "realm_access/roles".
  std::string subject_claim = "sub";
  std::string tenant_claim = {};  // empty, or not in a token: `tenant`
  std::string tenant = "default";
  std::string roles_claim = "roles";              // a text, or a list of texts
  std::map<std::string, std::string> roles = {};  // what is in the claim -> role here
  std::string default_role = {};                  // without any of them; empty: refused
  uint32_t requests_per_minute = 60;

  std::chrono::seconds skew{60};
  std::chrono::milliseconds refresh{300'000};         // of the keys
  std::chrono::milliseconds shortest{5'000};          // between two fetches, whatever is asked for
  std::chrono::milliseconds longest{300'000};         // between two attempts after failures
  std::chrono::milliseconds stale_limit{86'400'000};  // keys that could not be refreshed end then
  FetchOptions fetch;

  absl::Status Validate() const;
};

struct OidcEndpoints {
  std::string authorization;
  std::string token;
  std::string end_session;  // empty: it has none
};

// Thread safe.
class OidcProvider {
 public:
  // Begins to fetch; nothing waits for it.
  OidcProvider(OidcOptions options, std::unique_ptr<Fetcher> fetcher, Clock& clock = Clock::Real());
  ~OidcProvider();

  // The claims of a token of this issuer for one of the audiences. nullopt: its key is none of this
  // issuer's. UNAUTHENTICATED as CheckClaims. UNAVAILABLE while the keys are not known or too old,
  // or when the key is not known and they are being fetched for it.
  absl::StatusOr<std::optional<nlohmann::json>> Verify(const UncheckedToken& token,
                                                       const std::vector<std::string>& audiences);

  // Who the claims say it is. UNAUTHENTICATED where they give no tenant or no role.
  absl::StatusOr<User> UserOf(const nlohmann::json& claims) const;

  // UNAVAILABLE until discovery has succeeded once.
  absl::StatusOr<OidcEndpoints> endpoints();
  const OidcOptions& options() const { return options_; }
  Fetcher& fetcher() { return *fetcher_; }

  // Fetches now, on this thread, however short the last time was ago. For tests, and the thread.
  absl::Status Refresh();

 private:
  struct Keys {
    std::vector<JwsKey> list;
    SteadyTime fetched;
  };

  void Run();
  absl::StatusOr<std::string> Get(const std::string& url);
  // True when a fetch is under way or about to be.
  bool AskForRefresh();

  const OidcOptions options_;
  std::vector<JwsAlgorithm> rsa_algorithms_;
  const std::unique_ptr<Fetcher> fetcher_;
  Clock& clock_;

  // One Refresh at a time, so that older keys are not kept over newer ones. Taken before mutex_.
  std::mutex refresh_mutex_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const Keys> keys_;
  std::optional<OidcEndpoints> endpoints_;
  SteadyTime last_attempt_{};
  bool asked_ = false;
  bool fetching_ = false;
  bool stop_ = false;
  std::thread thread_;
};

// Bearer tokens of the providers. Thread safe.
class OidcAuthenticator final : public Authenticator {
 public:
  OidcAuthenticator(std::vector<std::shared_ptr<OidcProvider>> providers,
                    std::shared_ptr<const RoleDirectory> roles)
      : providers_(std::move(providers)), roles_(std::move(roles)) {}
  absl::StatusOr<PrincipalPtr> Authenticate(const Credentials& credentials) override;

 private:
  const std::vector<std::shared_ptr<OidcProvider>> providers_;
  const std::shared_ptr<const RoleDirectory> roles_;
};

}  // namespace weft::identity
