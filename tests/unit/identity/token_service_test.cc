#include "libs/identity/token_service.h"

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/identity/cookie.h"
#include "libs/identity/password.h"
#include "tests/support/catch.h"

using namespace weft::identity;
using namespace std::chrono_literals;
using nlohmann::json;
using weft::FakeClock;

namespace {

class Users final : public UserDirectory {
 public:
  absl::StatusOr<std::optional<User>> Find(std::string_view tenant,
                                           std::string_view name) override {
    ++asked;
    if (name != alice.name || tenant != alice.tenant) return std::optional<User>();
    return std::optional<User>(alice);
  }
  User alice{.name = "alice", .tenant = "red", .role = "developer"};
  int asked = 0;
};

struct Fixture {
  FakeClock clock;
  std::shared_ptr<Users> users = std::make_shared<Users>();
  std::shared_ptr<SeenSet> revoked = NewLocalSeenSet(clock);
  TokenOptions options{.secret = std::string(32, 's')};
  std::unique_ptr<TokenService> tokens = Open();

  std::unique_ptr<TokenService> Open() {
    return std::make_unique<TokenService>(options, BuiltInRoleBook(), users, revoked, clock);
  }
  absl::StatusOr<PrincipalPtr> Bearer(const std::string& text) {
    const std::string header = "Bearer " + text;
    return tokens->Authenticate({.authorization = header});
  }
  std::string Problem(const std::string& text) {
    return std::string(weft::Message(Bearer(text).status()));
  }
};

}  // namespace

TEST_CASE("A token says who it is for as long as it lives", "[identity]") {
  Fixture f;
  const IssuedToken token = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kAccess);
  CHECK(token.lifetime == 15min);
  const auto principal = f.Bearer(token.text);
  REQUIRE(principal.ok());
  REQUIRE(*principal != nullptr);
  CHECK((*principal)->subject == "user:alice");
  CHECK((*principal)->tenant == "red");
  CHECK((*principal)->method == AuthMethod::kToken);
  CHECK((*principal)->token_id == token.id);
  CHECK((*principal)->Can(Permission::kModelsUse));
  CHECK_FALSE((*principal)->Can(Permission::kKeysRead));
  f.clock.Advance(15min + 59s);
  CHECK(f.Bearer(token.text).ok());
  f.clock.Advance(1s);
  CHECK(f.Problem(token.text) == "Token has expired");
}

TEST_CASE("What is wrong with a token is told in three texts", "[identity]") {
  Fixture f;
  const std::string good = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kAccess).text;
  CHECK(f.Problem(good + "x") == "Could not validate credentials");
  CHECK(f.Problem("a.b.c") == "Could not validate credentials");
  CHECK(f.Problem("eyJhbGciOiJub25lIn0.e30.") == "Could not validate credentials");
  const int64_t now = weft::UnixSeconds(f.clock.Wall());
  json claims = {{"iss", "weft"},   {"aud", "weft"},    {"jti", "1"},   {"src", "x"},
                 {"tenant", "red"}, {"roles", "admin"}, {"sub", "eve"}, {"exp", now + 100}};
  const auto sign = [&](const json& c, const char* type = "JWT") {
    return SignHmac(c, type, f.options.secret);
  };
  CHECK(f.Bearer(sign(claims)).ok());
  CHECK(f.Problem(SignHmac(claims, "JWT", std::string(32, 'x'))) ==
        "Could not validate credentials");
  json no_subject = claims;
  no_subject.erase("sub");
  CHECK(f.Problem(sign(no_subject)) == "Invalid authentication credentials");
  for (const char* name : {"iss", "aud", "exp", "jti", "src", "tenant", "roles"}) {
    CAPTURE(name);
    json without = claims;
    without.erase(name);
    if (std::string_view(name) != "tenant") {
      CHECK(f.Problem(sign(without)) == "Could not validate credentials");
    }
  }
  // A session's token is no bearer token, and the other way round.
  CHECK(f.Problem(sign(claims, "weft-session")) == "Could not validate credentials");
  CHECK_FALSE(
      f.Bearer(f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kSession).text).ok());
  // Claims of other types than they have.
  for (const json& change : std::vector<json>{
           {{"rpm", "x"}}, {{"rpm", -1}}, {{"models", 1}}, {{"models", {1}}}, {{"iat", "x"}}}) {
    CAPTURE(change.dump());
    json odd = claims;
    odd.update(change);
    CHECK(f.Problem(sign(odd)) == "Could not validate credentials");
  }
}

TEST_CASE("Other credentials are others' matter", "[identity]") {
  Fixture f;
  CHECK(*f.tokens->Authenticate({}) == nullptr);
  CHECK(*f.tokens->Authenticate({.authorization = "Basic abc"}) == nullptr);
  CHECK(*f.Bearer("weft_dev_abc") == nullptr);
  // Another issuer's algorithm.
  CHECK(*f.Bearer("eyJhbGciOiJSUzI1NiJ9.e30.AAAA") == nullptr);
}

TEST_CASE("A user who is gone, disabled or changed takes the token along", "[identity]") {
  Fixture f;
  const std::string text = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kAccess).text;
  CHECK(f.Bearer(text).ok());
  for (int i = 0; i < 5; ++i) CHECK(f.Bearer(text).ok());
  CHECK(f.users->asked == 1);  // known for a while
  f.users->alice.role = "auditor";
  f.clock.Advance(500ms);
  CHECK((*f.Bearer(text))->roles == std::vector<std::string>{"auditor"});
  f.users->alice.disabled = true;
  f.clock.Advance(500ms);
  CHECK(f.Problem(text) == "Could not validate credentials");
  f.users->alice.disabled = false;
  f.users->alice.tokens_from = weft::UnixSeconds(f.clock.Wall()) + 10;
  f.clock.Advance(500ms);
  CHECK_FALSE(f.Bearer(text).ok());
  f.users->alice.tokens_from = 0;
  f.users->alice.name = "alice2";
  f.clock.Advance(500ms);
  CHECK_FALSE(f.Bearer(text).ok());
}

TEST_CASE("A revoked token ends, also in another gateway, and others live on", "[identity]") {
  Fixture f;
  const std::string one = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kAccess).text;
  const std::string two = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kAccess).text;
  REQUIRE(f.tokens->Revoke(**f.Bearer(one)).ok());
  const auto other = f.Open();
  const std::string header = "Bearer " + one;
  CHECK_FALSE(other->Authenticate({.authorization = header}).ok());
  CHECK_FALSE(f.Bearer(one).ok());
  CHECK(f.Bearer(two).ok());
}

TEST_CASE("A new secret lets old tokens end by themselves", "[identity]") {
  Fixture f;
  const std::string old = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kAccess).text;
  f.options.previous_secret = std::exchange(f.options.secret, std::string(32, 'n'));
  f.tokens = f.Open();
  CHECK(f.Bearer(old).ok());
  f.options.previous_secret.clear();
  f.tokens = f.Open();
  CHECK_FALSE(f.Bearer(old).ok());
  CHECK_FALSE(TokenOptions{.secret = std::string(31, 'x')}.Validate().ok());
  CHECK(TokenOptions{.secret = std::string(32, 'x')}.Validate().ok());
}

TEST_CASE("A session's cookie reads, and writes only with its token against forgery",
          "[identity]") {
  Fixture f;
  const IssuedToken session = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kSession);
  const IssuedToken other = f.tokens->Issue(f.users->alice, kLocalSource, TokenKind::kSession);
  CHECK(session.lifetime == 8h);
  const std::string cookie = std::string(kSessionCookie) + "=" + session.text;
  const auto with = [&](std::string_view method, std::string_view csrf) {
    return f.tokens->Authenticate({.method = method, .cookie = cookie, .csrf_token = csrf});
  };
  REQUIRE(with("GET", "").ok());
  CHECK((*with("GET", ""))->method == AuthMethod::kSession);
  for (const char* method : {"POST", "DELETE", "PUT", "PATCH", "get", ""}) {
    CAPTURE(method);
    CHECK(with(method, "").status().code() == absl::StatusCode::kPermissionDenied);
    CHECK(with(method, other.csrf).status().code() == absl::StatusCode::kPermissionDenied);
    CHECK(with(method, session.csrf).ok());
  }
  const std::string twice = cookie + "; " + cookie;
  CHECK(*f.tokens->Authenticate({.method = "GET", .cookie = twice}) == nullptr);
  const std::string bad = std::string(kSessionCookie) + "=abc";
  CHECK_FALSE(f.tokens->Authenticate({.method = "GET", .cookie = bad}).ok());
  // Whoever sends a key means the key.
  CHECK(*f.tokens->Authenticate({.api_key = "weft_x", .method = "POST", .cookie = cookie}) ==
        nullptr);
}

TEST_CASE("Signing in asks for the right password of a user who may", "[identity]") {
  auto users = std::make_shared<Users>();
  users->alice.password_hash = HashPassword("open sesame");
  DirectoryLogin login(users);
  REQUIRE(login.Login("red", "alice", "open sesame").ok());
  CHECK(login.Login("red", "alice", "open sesame")->has_value());
  CHECK_FALSE(login.Login("red", "alice", "open sesam")->has_value());
  CHECK_FALSE(login.Login("blue", "alice", "open sesame")->has_value());
  CHECK_FALSE(login.Login("red", "bob", "open sesame")->has_value());
  users->alice.disabled = true;
  CHECK_FALSE(login.Login("red", "alice", "open sesame")->has_value());
}
