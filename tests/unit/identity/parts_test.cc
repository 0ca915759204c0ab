// Passwords, cookies, sealed text, what was seen.
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/cookie.h"
#include "libs/identity/ldap_login.h"
#include "libs/identity/oidc_login.h"
#include "libs/identity/password.h"
#include "libs/identity/sealed_text.h"
#include "libs/identity/seen_set.h"
#include "libs/identity/user.h"
#include "tests/support/catch.h"

using namespace weft::identity;
using namespace std::chrono_literals;
using weft::FakeClock;

TEST_CASE("A password is good for its own hash, and two hashes of it differ", "[identity]") {
  const std::string hash = HashPassword("correct horse");
  CHECK(hash.starts_with("$scrypt$ln=15,r=8,p=3$"));
  CHECK(hash.find("correct") == std::string::npos);
  CHECK(IsPasswordHash(hash));
  CHECK(VerifyPassword("correct horse", hash));
  CHECK_FALSE(VerifyPassword("correct hors", hash));
  CHECK(HashPassword("correct horse") != hash);
}

TEST_CASE("A hash that is none, or would cost too much, is refused", "[identity]") {
  const std::string salt = "AAAAAAAAAAAAAAAAAAAAAA";
  const std::string end = salt + "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
  CHECK(IsPasswordHash("$scrypt$ln=10,r=8,p=1$" + end));
  for (const std::string& bad : std::vector<std::string>{
           "", "x", "$scrypt$", "$argon2id$v=19$m=1,t=1,p=1$" + end, "$scrypt$ln=25,r=8,p=1$" + end,
           "$scrypt$ln=20,r=32,p=1$" + end, "$scrypt$ln=0,r=8,p=1$" + end,
           "$scrypt$ln=10,r=8,p=999$" + end, "$scrypt$ln=10,r=8$" + end,
           "$scrypt$ln=10,r=8,p=1$" + salt, "$scrypt$ln=10,r=8,p=1$AA$AA",
           "$scrypt$ln=10,r=8,p=1$" + end + "="}) {
    CAPTURE(bad);
    CHECK_FALSE(IsPasswordHash(bad));
  }
  CHECK(CheckPassword("12345678").ok());
  CHECK_FALSE(CheckPassword("1234567").ok());
  CHECK_FALSE(CheckPassword("12345678\n").ok());
  CHECK_FALSE(CheckPassword(std::string(1025, 'x')).ok());
}

TEST_CASE("A cookie is found once, whole and by its own name", "[identity]") {
  const std::string name(kSessionCookie);
  CHECK(FindCookie(name + "=abc", name) == "abc");
  CHECK(FindCookie("a=b; " + name + "=abc; c=d", name) == "abc");
  CHECK(FindCookie("a=b;" + name + "=a=b", name) == "a=b");
  for (const std::string& bad : std::vector<std::string>{
           "", name, name + "=", "x" + name + "=abc", name + "x=abc",
           name + "=a; " + name + "=b",  // set by somebody else for a parent domain
           name + "=\"abc\"", name + "=a b", name + "=a,b", name + "=a\\b", name + "=\x7f",
           name + "=" + std::string(9000, 'x')}) {
    CAPTURE(bad.substr(0, 60));
    CHECK_FALSE(FindCookie(bad, name).has_value());
  }
  const std::string set = SetCookie(kSessionCookie, "v", 60s, SameSite::kLax);
  CHECK(set == "__Host-weft_session=v; Path=/; Secure; SameSite=Lax; Max-Age=60; HttpOnly");
  CHECK(SetCookie(kCsrfCookie, "v", 0s, SameSite::kStrict, true) ==
        "__Host-weft_csrf=v; Path=/; Secure; SameSite=Strict; Max-Age=0");
}

TEST_CASE("Sealed text opens with its key alone, and only unchanged", "[identity]") {
  const std::string key(32, 'k');
  const std::string sealed = SealText("state and nonce", key);
  CHECK(OpenText(sealed, key) == "state and nonce");
  CHECK(SealText("state and nonce", key) != sealed);
  CHECK_FALSE(OpenText(sealed, std::string(32, 'x')).has_value());
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    CHECK_FALSE(OpenText(changed, key).has_value());
  }
  CHECK_FALSE(OpenText("", key).has_value());
  CHECK_FALSE(OpenText(std::string(9000, 'A'), key).has_value());
  CHECK(OpenText(SealText("", key), key) == "");
}

TEST_CASE("A name is new once, until its time is over, and none is forgotten early", "[identity]") {
  FakeClock clock;
  const auto seen = NewLocalSeenSet(clock, 3);
  CHECK(*seen->Add("a", 10s));
  CHECK_FALSE(*seen->Add("a", 10s));
  CHECK(*seen->Contains("a"));
  CHECK(*seen->Add("b", 20s));
  CHECK(*seen->Add("c", 20s));
  CHECK(seen->Add("d", 20s).status().code() == absl::StatusCode::kResourceExhausted);
  CHECK_FALSE(*seen->Contains("d"));
  clock.Advance(10s);
  CHECK_FALSE(*seen->Contains("a"));
  CHECK(*seen->Add("a", 10s));
  CHECK_FALSE(*seen->Add("b", 10s));
}

TEST_CASE("Secrets are blotted out of text, and nothing else is", "[identity]") {
  const std::string key = NewApiKey("prod").text;
  const std::string old = NewApiKey("").text;
  CHECK(RedactSecrets("GET /v1/" + key + "?k=" + old + " x") == "GET /v1/weft_***?k=weft_*** x");
  CHECK(RedactSecrets("wsig_" + std::string(43, 'a')) == "wsig_***");
  for (const char* same : {"", "weft_", "weft_http_streams", "GET /weft_/x", "wsig_ab"}) {
    CHECK(RedactSecrets(same) == same);
  }
}

TEST_CASE("A redirection after signing in stays on this server", "[identity]") {
  for (const char* good : {"/", "/docs", "/a/b?x=1&y=%20#z"}) CHECK(IsLocalPath(good));
  for (const char* bad : {"", "docs", "//evil.example", "/\\evil.example", "https://evil.example",
                          "/a\\b", "/a b", "/a\r\nSet-Cookie: x", "/\t/evil.example"}) {
    CAPTURE(bad);
    CHECK_FALSE(IsLocalPath(bad));
  }
}

TEST_CASE("What is typed cannot change a directory's filter", "[identity]") {
  CHECK(EscapeFilter("alice") == "alice");
  CHECK(EscapeFilter("*") == "\\2a");
  CHECK(EscapeFilter("a)(uid=*))(|(uid=*") == "a\\29\\28uid=\\2a\\29\\29\\28|\\28uid=\\2a");
  CHECK(EscapeFilter(std::string("a\0b\\", 4)) == "a\\00b\\5c");
  CHECK(EscapeFilter("\xc3\xa9") == "\\c3\\a9");
}

TEST_CASE("Users of the configuration are checked and found in their tenant", "[identity]") {
  const std::string hash =
      "$scrypt$ln=10,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
  auto users = ListedUsers::Make({{.name = "alice", .tenant = "red", .password_hash = hash},
                                  {.name = "alice", .tenant = "blue", .role = "viewer"}});
  REQUIRE(users.ok());
  CHECK((*users)->Find("red", "alice")->value().role == "developer");
  CHECK((*users)->Find("blue", "alice")->value().role == "viewer");
  CHECK_FALSE((*users)->Find("green", "alice")->has_value());
  CHECK_FALSE(ListedUsers::Make({{.name = "a"}, {.name = "a"}}).ok());
  CHECK_FALSE(ListedUsers::Make({{.name = ""}}).ok());
  CHECK_FALSE(ListedUsers::Make({{.name = "a", .password_hash = "plain"}}).ok());
  CHECK_FALSE(ListedUsers::Make({{.name = "a", .tenant = "a b"}}).ok());
}
