// An issuer that answers from memory: keys that rotate, go away and come back; the browser's login.
#include <map>
#include <mutex>
#include <thread>

#include "libs/base/status.h"
#include "libs/identity/oidc_login.h"
#include "libs/identity/oidc_provider.h"
#include "tests/support/catch.h"
#include "tests/support/jwt_maker.h"

using namespace weft::identity;
using namespace std::chrono_literals;
using nlohmann::json;
using weft::FakeClock;
using weft::test::JwtMaker;

namespace {

// Thread safe: the provider's thread asks, too.
struct Site {
  std::mutex mutex;
  std::map<std::string, FetchAnswer> pages;
  bool away = false;
  int asked = 0;
  FetchRequest last;
};

class SiteFetcher final : public Fetcher {
 public:
  explicit SiteFetcher(std::shared_ptr<Site> site) : site_(std::move(site)) {}
  absl::StatusOr<FetchAnswer> Fetch(const FetchRequest& request) override {
    std::lock_guard lock(site_->mutex);
    ++site_->asked;
    site_->last = request;
    if (site_->away) return weft::Unavailable("away");
    const auto it = site_->pages.find(request.url);
    return it == site_->pages.end() ? FetchAnswer{404, ""} : it->second;
  }

 private:
  const std::shared_ptr<Site> site_;
};

struct Fixture {
  Fixture() {
    options.name = "main";
    options.issuer = "https://id.example";
    options.audiences = {"weft"};
    options.client_id = "web";
    options.client_secret = "s e";
    options.redirect_uri = "https://gw.example/auth/oidc/callback";
    options.tenant_claim = "org/name";
    options.roles_claim = "realm/roles";
    options.roles = {{"devs", "developer"}, {"auditors", "auditor"}};
    options.refresh = 24h;
    options.shortest = 5s;
    Publish({first.Jwk("k1")});
    provider = std::make_shared<OidcProvider>(options, std::make_unique<SiteFetcher>(site), clock);
    REQUIRE(provider->Refresh().ok());
    // Its own thread fetches once, too: until then an unknown key would be waited for.
    const auto own_is_done = [&] {
      std::lock_guard lock(site->mutex);
      return site->asked >= 4;
    };
    while (!own_is_done()) std::this_thread::sleep_for(1ms);
    while (Code(Token(second, "unknown", Claims())) != absl::StatusCode::kUnauthenticated) {
      std::this_thread::sleep_for(1ms);
    }
  }
  void Publish(const std::vector<json>& keys, const std::string& issuer = "https://id.example") {
    std::lock_guard lock(site->mutex);
    site->pages["https://id.example/.well-known/openid-configuration"] = {
        200, json({{"issuer", issuer},
                   {"jwks_uri", "https://id.example/keys"},
                   {"authorization_endpoint", "https://id.example/auth"},
                   {"token_endpoint", "https://id.example/token"}})
                 .dump()};
    site->pages["https://id.example/keys"] = {200, json({{"keys", keys}}).dump()};
  }
  json Claims() const {
    return {{"iss", "https://id.example"},
            {"aud", "weft"},
            {"sub", "u1"},
            {"exp", weft::UnixSeconds(clock.Wall()) + 600},
            {"org", {{"name", "red"}}},
            {"realm", {{"roles", {"devs", "cooks"}}}}};
  }
  std::string Token(const JwtMaker& maker, const std::string& kid, const json& claims) const {
    json header = {{"alg", "ES256"}};
    if (!kid.empty()) header["kid"] = kid;
    return maker.Sign(header, claims);
  }
  absl::StatusOr<PrincipalPtr> Try(const std::string& token) {
    const std::string header = "Bearer " + token;
    return OidcAuthenticator({provider}, BuiltInRoleBook()).Authenticate({.authorization = header});
  }
  absl::StatusCode Code(const std::string& token) { return Try(token).status().code(); }

  FakeClock clock;
  std::shared_ptr<Site> site = std::make_shared<Site>();
  OidcOptions options;
  JwtMaker first = JwtMaker::Elliptic("P-256");
  JwtMaker second = JwtMaker::Elliptic("P-256");
  std::shared_ptr<OidcProvider> provider;
};

constexpr auto kOk = absl::StatusCode::kOk;
constexpr auto kBad = absl::StatusCode::kUnauthenticated;
constexpr auto kAway = absl::StatusCode::kUnavailable;

}  // namespace

TEST_CASE("An issuer's token gives tenant and roles by its claims", "[identity]") {
  Fixture f;
  const auto principal = f.Try(f.Token(f.first, "k1", f.Claims()));
  REQUIRE(principal.ok());
  REQUIRE(*principal != nullptr);
  CHECK((*principal)->subject == "oidc:main:u1");
  CHECK((*principal)->tenant == "red");
  CHECK((*principal)->roles == std::vector<std::string>{"developer"});
  CHECK((*principal)->method == AuthMethod::kOidc);
  CHECK(f.Code(f.Token(f.first, "", f.Claims())) == kOk);
  json claims = f.Claims();
  claims["realm"]["roles"] = {"cooks"};
  CHECK(f.Code(f.Token(f.first, "k1", claims)) == kBad);  // no role here
  claims = f.Claims();
  claims["org"]["name"] = "../etc";
  CHECK(f.Code(f.Token(f.first, "k1", claims)) == kBad);
  claims["org"]["name"] = {"red", "blue"};
  CHECK(f.Code(f.Token(f.first, "k1", claims)) == kBad);
  claims = f.Claims();
  claims.erase("org");
  CHECK((*f.Try(f.Token(f.first, "k1", claims)))->tenant == "default");
  for (const json& change : std::vector<json>{
           {{"aud", "other"}}, {{"aud", "web"}}, {{"iss", "https://id.example/"}}, {{"exp", 1}}}) {
    claims = f.Claims();
    claims.update(change);
    CHECK(f.Code(f.Token(f.first, "k1", claims)) == kBad);
  }
  // Not another issuer's key, not the own tokens' algorithm.
  CHECK(f.Code(f.Token(f.second, "k1", f.Claims())) == kBad);
  CHECK(*f.Try(SignHmac(f.Claims(), "JWT", f.first.Pem())) == nullptr);
}

TEST_CASE("A new key is fetched when it is first seen, and unknown ones not too often",
          "[identity]") {
  Fixture f;
  f.Publish({f.first.Jwk("k1"), f.second.Jwk("k2")});
  const std::string token = f.Token(f.second, "k2", f.Claims());
  // Just fetched: unknown names are refused without asking.
  CHECK(f.Code(token) == kBad);
  f.clock.Advance(5s);
  CHECK(f.Code(token) == kAway);  // asked for
  for (int i = 0; i < 2000 && f.Code(token) != kOk; ++i) std::this_thread::sleep_for(5ms);
  CHECK(f.Code(token) == kOk);
  CHECK(f.Code(f.Token(f.first, "k1", f.Claims())) == kOk);
  // The old key is taken away.
  f.Publish({f.second.Jwk("k2")});
  REQUIRE(f.provider->Refresh().ok());
  CHECK(f.Code(f.Token(f.first, "k1", f.Claims())) == kBad);
  int asked = 0;
  {
    std::lock_guard lock(f.site->mutex);
    asked = f.site->asked;
  }
  for (int i = 0; i < 100; ++i)
    CHECK(f.Code(f.Token(f.first, "x" + std::to_string(i), {})) == kBad);
  std::lock_guard lock(f.site->mutex);
  CHECK(f.site->asked == asked);
}

TEST_CASE("Keys outlive their issuer for a while, and no longer", "[identity]") {
  Fixture f;
  {
    std::lock_guard lock(f.site->mutex);
    f.site->away = true;
  }
  CHECK_FALSE(f.provider->Refresh().ok());
  json claims = f.Claims();
  claims["exp"] = weft::UnixSeconds(f.clock.Wall()) + 10 * 86400;
  CHECK(f.Code(f.Token(f.first, "k1", claims)) == kOk);
  f.clock.Advance(24h + 1s);
  CHECK(f.Code(f.Token(f.first, "k1", claims)) == kAway);
  {
    std::lock_guard lock(f.site->mutex);
    f.site->away = false;
  }
  REQUIRE(f.provider->Refresh().ok());
  CHECK(f.Code(f.Token(f.first, "k1", claims)) == kOk);
}

TEST_CASE("A document of another issuer, or without keys, changes nothing", "[identity]") {
  Fixture f;
  f.Publish({f.second.Jwk("k2")}, "https://evil.example");
  CHECK_FALSE(f.provider->Refresh().ok());
  f.Publish({});
  CHECK_FALSE(f.provider->Refresh().ok());
  f.Publish({json({{"kty", "oct"}, {"k", "AAAA"}})});
  CHECK_FALSE(f.provider->Refresh().ok());
  CHECK(f.Code(f.Token(f.first, "k1", f.Claims())) == kOk);
}

TEST_CASE("Signing in with a browser binds state, nonce and code to the browser", "[identity]") {
  Fixture f;
  OidcLogin login({f.provider}, std::string(32, 'k'), f.clock);
  const auto start = login.Begin("", "/docs");
  REQUIRE(start.ok());
  const auto param = [&](const std::string& name) {
    const size_t at = start->url.find(name + "=");
    REQUIRE(at != std::string::npos);
    const size_t begin = at + name.size() + 1;
    return start->url.substr(begin, start->url.find('&', begin) - begin);
  };
  CHECK(start->url.starts_with("https://id.example/auth?response_type=code&client_id=web&"));
  CHECK(param("redirect_uri") == "https%3A%2F%2Fgw.example%2Fauth%2Foidc%2Fcallback");
  CHECK(param("scope") == "openid%20profile%20email");
  CHECK(param("code_challenge_method") == "S256");
  CHECK(param("code_challenge").size() == 43);
  const std::string state = param("state");
  const auto answer = [&](const json& change) {
    json claims = f.Claims();
    claims["aud"] = "web";
    claims["nonce"] = param("nonce");
    claims.update(change);
    std::lock_guard lock(f.site->mutex);
    f.site->pages["https://id.example/token"] = {
        200, json({{"id_token", f.Token(f.first, "k1", claims)}}).dump()};
  };
  const auto code = [&](std::string_view cookie, std::string_view with_state,
                        std::string_view issuer = "") {
    return login.Finish(cookie, with_state, "the code", issuer).status().code();
  };
  answer(json::object());
  const auto end = login.Finish(start->cookie, state, "the code", "https://id.example");
  REQUIRE(end.ok());
  CHECK(end->user.name == "u1");
  CHECK(end->user.tenant == "red");
  CHECK(end->source == "oidc:main");
  CHECK(end->return_to == "/docs");
  {
    std::lock_guard lock(f.site->mutex);
    CHECK(f.site->last.user == "web");
    CHECK(f.site->last.password == "s%20e");
    const std::string form = FormEncode(f.site->last.form);
    CHECK(form.find("code=the%20code") != std::string::npos);
    CHECK(form.find("code_verifier=") != std::string::npos);
  }
  CHECK(code(start->cookie, state + "x") == kBad);
  CHECK(code("", state) == kBad);
  CHECK(code(login.Begin("", "/")->cookie, state) == kBad);  // another browser's
  CHECK(code(start->cookie, state, "https://evil.example") == kBad);
  for (const json& change : std::vector<json>{{{"nonce", "x"}},
                                              {{"aud", "weft"}},
                                              {{"azp", "other"}},
                                              {{"exp", 1}},
                                              {{"iss", "https://evil.example"}}}) {
    CAPTURE(change.dump());
    answer(change);
    CHECK(code(start->cookie, state) == kBad);
  }
  answer({{"aud", {"web", "other"}}, {"azp", "web"}});
  CHECK(code(start->cookie, state) == kOk);
  {
    std::lock_guard lock(f.site->mutex);
    f.site->pages["https://id.example/token"] = {400, R"({"error":"invalid_grant"})"};
  }
  CHECK(code(start->cookie, state) == kBad);
  answer(json::object());
  f.clock.Advance(601s);
  answer({{"exp", weft::UnixSeconds(f.clock.Wall()) + 600}});
  CHECK(code(start->cookie, state) == kBad);  // too late
  CHECK(login.Begin("nobody", "/").status().code() == absl::StatusCode::kNotFound);
  CHECK(login.Begin("", "//evil.example").status().code() == absl::StatusCode::kInvalidArgument);
}
