// Requests that are signed, and the other properties of keys.
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/key_service.h"
#include "libs/identity/request_signature.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace std::chrono_literals;
using namespace weft::identity;
using weft::FakeClock;
using weft::store::KeyStore;
using weft::test::TempDir;

namespace {

struct Fixture {
  TempDir dir;
  FakeClock clock;
  std::shared_ptr<SeenSet> nonces = NewLocalSeenSet(clock);
  std::string pepper = std::string(32, 'p');
  std::unique_ptr<KeyService> keys = Open();

  std::unique_ptr<KeyService> Open() {
    auto store = KeyStore::OpenSqlite(dir.File("weft.db"));
    REQUIRE(store.ok());
    KeyServiceOptions options;
    options.pepper = pepper;
    options.poll_interval = 1h;
    options.environment = "test";
    options.nonces = nonces;
    return std::make_unique<KeyService>(std::move(*store), options, clock);
  }
  CreatedKey Create(NewKey key = {.name = "x"}) {
    auto created = keys->Create(key);
    INFO((created.ok() ? "" : std::string(weft::Message(created.status()))));
    REQUIRE(created.ok());
    return *created;
  }
  int64_t now() const { return weft::UnixSeconds(clock.Wall()); }

  absl::StatusOr<PrincipalPtr> V1(KeyService& service, const CreatedKey& key, int64_t at,
                                  const std::string& signed_body, const std::string& sent_body) {
    const std::string signature = SignV1(key.signing_secret, at, signed_body);
    const std::string timestamp = std::to_string(at);
    Credentials credentials{.method = "POST", .target = "/generate"};
    credentials.signing_key_id = key.record.id;
    credentials.timestamp = timestamp;
    credentials.signature = signature;
    auto first = service.Authenticate(credentials);
    if (!IsNeedsBody(first.status())) return first;
    credentials.body = sent_body;
    return service.Authenticate(credentials);
  }
  absl::StatusOr<PrincipalPtr> V2(KeyService& service, const std::string& header,
                                  std::string_view method, std::string_view target,
                                  std::string_view body) {
    Credentials credentials{.authorization = header, .method = method, .target = target};
    auto first = service.Authenticate(credentials);
    if (!IsNeedsBody(first.status())) return first;
    credentials.body = body;
    return service.Authenticate(credentials);
  }
};

bool Refused(const absl::StatusOr<PrincipalPtr>& answer) {
  return answer.status().code() == absl::StatusCode::kUnauthenticated &&
         !IsNeedsBody(answer.status());
}

}  // namespace

// The HMAC by Python's hmac module, as requirement 000 computes it.
TEST_CASE("A v1 signature is HMAC-SHA-256 over timestamp and payload, in hexadecimal",
          "[identity]") {
  CHECK(SignV1("secret", 1700000000, R"({"prompt":"x"})") ==
        "784197faa4b148f9579c864d3f0b5b704609e4803b9b98804774324b11d4cc2a");
}

TEST_CASE("A v1 request comes in once, within five minutes, with its own body", "[identity]") {
  Fixture f;
  const CreatedKey key = f.Create();
  REQUIRE(key.signing_secret.starts_with("wsig_"));
  const auto good = f.V1(*f.keys, key, f.now(), "body", "body");
  REQUIRE(good.ok());
  CHECK((*good)->key_id == key.record.id);
  CHECK((*good)->method == AuthMethod::kSignature);
  CHECK(Refused(f.V1(*f.keys, key, f.now(), "body", "body")));  // again
  CHECK(Refused(f.V1(*f.keys, key, f.now(), "body", "Body")));
  CHECK(f.V1(*f.keys, key, f.now() - 300, "body", "body").ok());
  CHECK(f.V1(*f.keys, key, f.now() + 300, "body", "body").ok());
  CHECK(Refused(f.V1(*f.keys, key, f.now() - 301, "body", "body")));
  CHECK(Refused(f.V1(*f.keys, key, f.now() + 301, "body", "body")));
  CreatedKey wrong = key;
  wrong.signing_secret = f.Create().signing_secret;
  CHECK(Refused(f.V1(*f.keys, wrong, f.now(), "x", "x")));
  wrong.record.id = "nobodynobody";
  CHECK(Refused(f.V1(*f.keys, wrong, f.now(), "x", "x")));
}

TEST_CASE("A v2 signature binds method, target, key, nonce and body", "[identity]") {
  Fixture f;
  const CreatedKey key = f.Create();
  int serial = 0;
  const auto header = [&](int64_t at, const std::string& method = "POST") {
    return SignV2Header(key.signing_secret, key.record.id, at,
                        "nonce-0123456789-" + std::to_string(serial++), method, "/generate?a=1",
                        "body");
  };
  CHECK(f.V2(*f.keys, header(f.now()), "POST", "/generate?a=1", "body").ok());
  CHECK(Refused(f.V2(*f.keys, header(f.now()), "PUT", "/generate?a=1", "body")));
  CHECK(Refused(f.V2(*f.keys, header(f.now()), "POST", "/generate?a=2", "body")));
  CHECK(Refused(f.V2(*f.keys, header(f.now()), "POST", "/generate", "body")));
  CHECK(Refused(f.V2(*f.keys, header(f.now()), "POST", "/generate?a=1", "Body")));
  CHECK(Refused(f.V2(*f.keys, header(f.now() - 301), "POST", "/generate?a=1", "body")));
  std::string text = header(f.now());
  for (const auto& [what, with] : std::vector<std::pair<std::string, std::string>>{
           {"nonce-", "nonce_"}, {"ts=1", "ts=2"}, {"key=", "key=x"}}) {
    std::string changed = text;
    changed.replace(changed.find(what), what.size(), with);
    CAPTURE(changed);
    CHECK(Refused(f.V2(*f.keys, changed, "POST", "/generate?a=1", "body")));
  }
  CHECK(f.V2(*f.keys, text, "POST", "/generate?a=1", "body").ok());
  // The same once more, here and in another gateway that shares the nonces.
  CHECK(Refused(f.V2(*f.keys, text, "POST", "/generate?a=1", "body")));
  const auto other = f.Open();
  CHECK(Refused(f.V2(*other, text, "POST", "/generate?a=1", "body")));
  // As long as the timestamp can be fresh, the nonce is remembered.
  const std::string ahead = header(f.now() + 300);
  CHECK(f.V2(*f.keys, ahead, "POST", "/generate?a=1", "body").ok());
  f.clock.Advance(600s);
  CHECK(Refused(f.V2(*f.keys, ahead, "POST", "/generate?a=1", "body")));
}

TEST_CASE("A bad signature costs no nonce, and a full store of nonces lets nobody in",
          "[identity]") {
  Fixture f;
  f.nonces = NewLocalSeenSet(f.clock, 1);
  f.keys = f.Open();
  const CreatedKey key = f.Create();
  const auto header = [&](const char* nonce, const std::string& secret) {
    return SignV2Header(secret, key.record.id, f.now(), nonce, "GET", "/x", "");
  };
  for (int i = 0; i < 5; ++i) {
    CHECK(Refused(f.V2(*f.keys, header("0123456789abcdef", "wrong"), "GET", "/x", "")));
  }
  CHECK(f.V2(*f.keys, header("0123456789abcdef", key.signing_secret), "GET", "/x", "").ok());
  CHECK(f.V2(*f.keys, header("fedcba9876543210", key.signing_secret), "GET", "/x", "")
            .status()
            .code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("Badly formed signatures are refused by name", "[identity]") {
  Fixture f;
  const CreatedKey key = f.Create();
  const std::string good =
      SignV2Header(key.signing_secret, key.record.id, f.now(), "0123456789abcdef", "GET", "/x", "");
  const std::string scheme = "WEFT-HMAC-SHA256 ";
  for (const std::string& bad : std::vector<std::string>{
           scheme, scheme + "key=a", good + ", x=1", good + "A",
           scheme + good.substr(scheme.size() + 4), scheme + "ts=1, " + good.substr(scheme.size()),
           good.substr(0, good.size() - 1), good + std::string(9000, 'x')}) {
    CAPTURE(bad.substr(0, 100));
    const auto answer =
        f.keys->Authenticate({.authorization = bad, .method = "GET", .target = "/x"});
    CHECK(Refused(answer));
  }
  const std::string signature(64, 'a');
  for (const char* timestamp : {"", "0", "-1", "+1", " 1", "1.5", "01", "99999999999999", "1e9"}) {
    CAPTURE(timestamp);
    CHECK_FALSE(ParseSignature("", "id", timestamp, signature).ok());
  }
  CHECK_FALSE(ParseSignature("", "", "1700000000", signature).ok());
  CHECK_FALSE(ParseSignature("", "id", "1700000000", std::string(64, 'A')).ok());
  CHECK_FALSE(ParseSignature("", "id", "1700000000", std::string(63, 'a')).ok());
  CHECK_FALSE(ParseSignature(good, "id", "1700000000", signature).ok());
  CHECK_FALSE(ParseSignature("", "", "", "")->has_value());
}

TEST_CASE("A signing secret ends with its key, and needs a pepper", "[identity]") {
  Fixture f;
  const CreatedKey key = f.Create();
  CHECK(f.V1(*f.keys, key, f.now(), "a", "a").ok());
  REQUIRE(f.keys->Revoke(key.record.id).ok());
  CHECK(Refused(f.V1(*f.keys, key, f.now(), "b", "b")));
  f.pepper = "short";
  f.keys = f.Open();
  const CreatedKey other = f.Create();
  CHECK(other.signing_secret.empty());
  CHECK(Refused(f.V1(*f.keys, other, f.now(), "c", "c")));
}

TEST_CASE("New keys name their environment, and older ones stay good", "[identity]") {
  Fixture f;
  const CreatedKey key = f.Create();
  CHECK(key.text.starts_with("weft_test_" + key.record.id + "_"));
  CHECK(key.record.environment == "test");
  CHECK(ApiKeyId(key.text) == key.record.id);
  const ApiKeyText old = NewApiKey("");
  CHECK(old.text.starts_with("weft_" + old.id + "_"));
  CHECK(ApiKeyId(old.text) == old.id);
  const auto with = [&](const std::string& environment) {
    std::string text = key.text;
    return text.replace(5, 5, environment);
  };
  for (const std::string bad :
       {"", "_", "prod", "prod_", "Test_", "te-st_", "test_test_", "aaaaaaaaaaaaaaaaa_"}) {
    CAPTURE(bad);
    CHECK_FALSE(ApiKeyId(with(bad)).has_value());  // its check is over the environment, too
  }
}

TEST_CASE("A key is used from its addresses, for its scopes and models alone", "[identity]") {
  Fixture f;
  const CreatedKey key = f.Create({.name = "narrow",
                                   .tenant = "red",
                                   .role = "developer",
                                   .project = "p1",
                                   .scopes = {"models:*"},
                                   .addresses = {"192.0.2.0/24"},
                                   .models = {"tiny"}});
  const auto from = [&](std::string_view address) {
    return f.keys->Authenticate({.api_key = key.text, .remote_address = address});
  };
  REQUIRE(from("192.0.2.9").ok());
  const PrincipalPtr principal = *from("192.0.2.9");
  CHECK(principal->project == "p1");
  CHECK(PermissionNames(principal->permissions) ==
        std::vector<std::string>{"models:read", "models:use"});
  CHECK(principal->models.Allows("tiny"));
  CHECK_FALSE(principal->models.Allows("big"));
  CHECK(from("198.51.100.1").status().code() == absl::StatusCode::kUnauthenticated);
  CHECK_FALSE(from("").ok());
  // Read again from the store.
  f.keys = f.Open();
  CHECK(from("192.0.2.9").ok());
  CHECK_FALSE(from("198.51.100.1").ok());

  const auto field = [&](NewKey bad) { return weft::FieldOf(f.keys->Create(bad).status()); };
  CHECK(field({.name = "x", .scopes = {"models:fly"}}) == "scopes");
  CHECK(field({.name = "x", .addresses = {"nowhere"}}) == "allowed_ips");
  CHECK(field({.name = "x", .models = {"a*b"}}) == "allowed_models");
  CHECK(field({.name = "x", .project = "a b"}) == "project");
  CHECK(field({.name = "x", .role = "king"}) == "role");
}

TEST_CASE("A key that is rotated ends after the overlap, and its successor may do the same",
          "[identity]") {
  Fixture f;
  const CreatedKey old =
      f.Create({.name = "ci", .tenant = "red", .role = "viewer", .scopes = {"models:read"}});
  const auto is_good = [&](const std::string& text) {
    return f.keys->Authenticate({.api_key = text}).ok();
  };
  const auto next = f.keys->Rotate(old.record.id, 60s);
  REQUIRE(next.ok());
  CHECK(next->record.replaces == old.record.id);
  CHECK(next->record.role == "viewer");
  CHECK(next->text != old.text);
  CHECK(next->signing_secret != old.signing_secret);
  CHECK(is_good(old.text));
  CHECK(is_good(next->text));
  CHECK(PermissionNames((*f.keys->PrincipalOf(next->record.id))->permissions) ==
        std::vector<std::string>{"models:read"});
  f.clock.Advance(60s);
  CHECK_FALSE(is_good(old.text));
  CHECK(is_good(next->text));
  CHECK(f.keys->Rotate(old.record.id, 60s).status().code() ==
        absl::StatusCode::kFailedPrecondition);
  CHECK(f.keys->Rotate("nobodynobody", 60s).status().code() == absl::StatusCode::kNotFound);
  const auto last = f.keys->Rotate(next->record.id, 0s);
  REQUIRE(last.ok());
  CHECK_FALSE(is_good(next->text));
  CHECK(is_good(last->text));
}
