#include "libs/identity/key_service.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace std::chrono_literals;
using weft::FakeClock;
using weft::identity::AuthenticatorChain;
using weft::identity::Credentials;
using weft::identity::KeyService;
using weft::identity::NewKey;
using weft::store::KeyStore;
using weft::test::TempDir;

namespace {

struct Fixture {
  TempDir dir;
  FakeClock clock;
  std::shared_ptr<KeyService> keys = Open();

  std::shared_ptr<KeyService> Open(std::string pepper = "pepper") {
    auto store = KeyStore::OpenSqlite(dir.File("weft.db"));
    REQUIRE(store.ok());
    weft::identity::KeyServiceOptions options;
    options.pepper = std::move(pepper);
    options.poll_interval = 1h;  // tests call Maintain
    return std::make_shared<KeyService>(std::move(*store), options, clock);
  }
  std::string Create(NewKey key = {.name = "test"}) {
    auto created = keys->Create(key);
    REQUIRE(created.ok());
    last_id = created->record.id;
    return created->text;
  }
  std::string last_id;
};

// A store over a disk that can go away.
class BrittleStore final : public KeyStore {
 public:
  BrittleStore(std::unique_ptr<KeyStore> store, const bool& broken)
      : store_(std::move(store)), broken_(broken) {}
  absl::Status Insert(const weft::store::KeyRecord& key) override { return store_->Insert(key); }
  absl::StatusOr<std::optional<weft::store::KeyRecord>> Find(std::string_view id) override {
    if (broken_) return weft::DataLoss("database is malformed");
    return store_->Find(id);
  }
  absl::StatusOr<std::vector<weft::store::KeyRecord>> List(std::string_view tenant) override {
    return store_->List(tenant);
  }
  absl::Status Revoke(std::string_view id, int64_t at) override { return store_->Revoke(id, at); }
  absl::Status Touch(const std::map<std::string, int64_t>& used) override {
    return store_->Touch(used);
  }
  absl::Status Expire(std::string_view id, int64_t at) override { return store_->Expire(id, at); }
  absl::StatusOr<int64_t> ChangeNumber() override { return store_->ChangeNumber(); }

 private:
  const std::unique_ptr<KeyStore> store_;
  const bool& broken_;
};

absl::StatusCode Code(KeyService& keys, const std::string& text) {
  return keys.Authenticate({.api_key = text}).status().code();
}

}  // namespace

TEST_CASE("A new key gives its principal by either header", "[identity]") {
  Fixture f;
  const std::string key = f.Create({.name = "ci",
                                    .tenant = "red",
                                    .role = "admin",
                                    .requests_per_minute = 7,
                                    .max_priority = "low"});
  const std::string bearer = "bEaReR  " + key;
  for (const Credentials& credentials :
       {Credentials{.authorization = bearer}, Credentials{.api_key = key},
        Credentials{.authorization = bearer, .api_key = key}}) {
    const auto principal = f.keys->Authenticate(credentials);
    REQUIRE(principal.ok());
    REQUIRE(*principal != nullptr);
    CHECK((*principal)->key_id == f.last_id);
    CHECK((*principal)->tenant == "red");
    CHECK((*principal)->requests_per_minute == 7);
    CHECK((*principal)->max_priority == -1);
    CHECK((*principal)->roles == std::vector<std::string>{"admin"});
    CHECK((*principal)->permissions == weft::identity::PermissionSet::All());
  }
}

TEST_CASE("Wrong, unknown and contradicting keys are refused without saying which part was wrong",
          "[identity]") {
  Fixture f;
  const std::string key = f.Create();
  const std::string foreign =
      weft::identity::KeyService(std::move(*KeyStore::OpenSqlite(f.dir.File("other.db"))), {},
                                 f.clock)
          .Create({.name = "x"})
          ->text;
  const auto unknown = f.keys->Authenticate({.api_key = foreign});
  CHECK(unknown.status().code() == absl::StatusCode::kUnauthenticated);
  const auto shapeless = f.keys->Authenticate({.api_key = "sk-something"});
  CHECK(shapeless.status() == unknown.status());
  const std::string bearer = "Bearer " + foreign;
  CHECK_FALSE(f.keys->Authenticate({.authorization = bearer, .api_key = key}).ok());
  CHECK(*f.keys->Authenticate({}) == nullptr);
  CHECK(*f.keys->Authenticate({.authorization = "Basic abc"}) == nullptr);
  AuthenticatorChain chain({f.keys});
  CHECK_FALSE(chain.Authenticate({.authorization = "Basic abc"}).ok());
  CHECK(*chain.Authenticate({}) == nullptr);
}

TEST_CASE("A revoked key ends at once here and after one poll elsewhere", "[identity]") {
  Fixture f;
  auto other = f.Open();
  const std::string key = f.Create();
  other->Maintain();
  REQUIRE(Code(*f.keys, key) == absl::StatusCode::kOk);
  REQUIRE(Code(*other, key) == absl::StatusCode::kOk);
  REQUIRE(f.keys->Revoke(f.last_id).ok());
  CHECK(Code(*f.keys, key) == absl::StatusCode::kUnauthenticated);
  other->Maintain();
  CHECK(Code(*other, key) == absl::StatusCode::kUnauthenticated);
  CHECK(f.keys->Revoke("nothing").code() == absl::StatusCode::kNotFound);
}

TEST_CASE("A key expires by the clock", "[identity]") {
  Fixture f;
  const int64_t now = weft::UnixSeconds(f.clock.Wall());
  const std::string key = f.Create({.name = "short", .expires_at = now + 10});
  CHECK(Code(*f.keys, key) == absl::StatusCode::kOk);
  f.clock.Advance(11s);
  CHECK(Code(*f.keys, key) == absl::StatusCode::kUnauthenticated);
}

TEST_CASE("Another pepper makes every key invalid", "[identity]") {
  Fixture f;
  const std::string key = f.Create();
  CHECK(Code(*f.Open("other"), key) == absl::StatusCode::kUnauthenticated);
}

TEST_CASE("The store never holds the secret", "[identity]") {
  Fixture f;
  const std::string key = f.Create();
  const auto records = f.keys->List("");
  REQUIRE(records.ok());
  REQUIRE(records->size() == 1);
  for (const auto& record : *records) {
    CHECK(record.secret_hash.find(key.substr(18)) == std::string::npos);
    CHECK(record.secret_hash.size() == 32);
    CHECK(record.salt.size() == 16);
  }
}

TEST_CASE("The time of last use reaches the store", "[identity]") {
  Fixture f;
  const std::string key = f.Create();
  f.clock.Advance(1h);
  REQUIRE(Code(*f.keys, key) == absl::StatusCode::kOk);
  f.keys->Maintain();
  CHECK(f.keys->List("")->front().last_used_at == weft::UnixSeconds(f.clock.Wall()));
}

TEST_CASE("A new key's fields are checked and the error names the field", "[identity]") {
  Fixture f;
  const auto field = [&](const NewKey& key) { return weft::FieldOf(f.keys->Create(key).status()); };
  CHECK(field({.name = ""}) == "name");
  CHECK(field({.name = std::string(101, 'x')}) == "name");
  CHECK(field({.name = "a\nb"}) == "name");
  CHECK(field({.name = "a", .tenant = "a b"}) == "tenant");
  CHECK(field({.name = "a", .requests_per_minute = 0}) == "requests_per_minute");
  CHECK(field({.name = "a", .max_priority = "urgent"}) == "max_priority");
  CHECK(field({.name = "a", .expires_at = 5}) == "expires_at");
}

TEST_CASE("A store that fails shows until it works again", "[identity]") {
  Fixture f;
  const std::string text = f.Create();
  bool broken = true;
  KeyService keys(std::make_unique<BrittleStore>(
                      std::move(*KeyStore::OpenSqlite(f.dir.File("weft.db"))), broken),
                  {.pepper = "pepper", .poll_interval = 1h}, f.clock);
  CHECK(keys.store_status().ok());
  CHECK(Code(keys, text) == absl::StatusCode::kDataLoss);
  CHECK(keys.store_status().code() == absl::StatusCode::kDataLoss);
  keys.Maintain();
  CHECK_FALSE(keys.store_status().ok());
  broken = false;
  keys.Maintain();
  CHECK(keys.store_status().ok());
  CHECK(Code(keys, text) == absl::StatusCode::kOk);
}
