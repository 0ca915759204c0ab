#include "libs/identity/key_file.h"

#include <fstream>
#include <utility>

#include "libs/base/status.h"
#include "libs/identity/key_service.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace std::chrono_literals;
using weft::FakeClock;
using weft::identity::CreatedKey;
using weft::identity::FormatKeyFile;
using weft::identity::KeyService;
using weft::identity::KeyServiceOptions;
using weft::identity::MakeKey;
using weft::identity::NewKey;
using weft::identity::ParseKeyFile;
using weft::identity::ReadKeyFile;
using weft::store::KeyStore;
using weft::test::TempDir;

namespace {

CreatedKey Make(NewKey key = {.name = "ci"}) {
  auto made = MakeKey(key, "pepper", 1000);
  REQUIRE(made.ok());
  return *made;
}

std::string Replaced(std::string text, const std::string& what, const std::string& with) {
  const size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

std::string ErrorOf(const std::string& text) {
  const auto keys = ParseKeyFile(text);
  REQUIRE(!keys.ok());
  return std::string(weft::Message(keys.status()));
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("A key file reads back as it was written", "[identity]") {
  const CreatedKey one = Make({.name = "ci", .tenant = "a", .role = "admin"});
  const CreatedKey two = Make({.name = "späte Schicht", .max_priority = "low", .expires_at = 5000});
  const auto keys = ParseKeyFile(FormatKeyFile({one.record, two.record}));
  REQUIRE(keys.ok());
  REQUIRE(keys->size() == 2);
  CHECK((*keys)[0].id == one.record.id);
  CHECK((*keys)[0].role == "admin");
  CHECK((*keys)[0].salt == one.record.salt);
  CHECK((*keys)[0].secret_hash == one.record.secret_hash);
  CHECK((*keys)[1].name == "späte Schicht");
  CHECK((*keys)[1].expires_at == 5000);
  CHECK((*keys)[1].created_at == 1000);
  CHECK((*keys)[0].max_priority.empty());
  CHECK((*keys)[1].max_priority == "low");
}

TEST_CASE("A key file holds no secret", "[identity]") {
  const CreatedKey key = Make();
  const std::string secret = key.text.substr(key.text.rfind('_') + 1);
  CHECK(!Has(FormatKeyFile({key.record}), secret));
}

TEST_CASE("A bad key file is refused with the field's name", "[identity]") {
  const CreatedKey key = Make();
  const std::string good = FormatKeyFile({key.record});
  CHECK(Has(ErrorOf(Replaced(good, "developer", "the owner")), "keys[0].role"));
  CHECK(Has(ErrorOf(Replaced(good, "\"name\": \"ci\"", "\"name\": \"\"")), "keys[0].name"));
  CHECK(Has(ErrorOf(Replaced(good, "\"name\": \"ci\"", "\"name\": 3")), "keys[0].name"));
  CHECK(Has(ErrorOf(Replaced(good, "\"tenant\": \"default\"", "\"tenant\": \"a/b\"")),
            "keys[0].tenant"));
  CHECK(Has(ErrorOf(Replaced(good, ": 60,", ": 0,")), "keys[0].requests_per_minute"));
  CHECK(Has(ErrorOf(Replaced(good, ": 60,", ": -1,")), "keys[0].requests_per_minute"));
  CHECK(Has(ErrorOf(Replaced(good, ": 60,", ": 1e99,")), "keys[0].requests_per_minute"));
  CHECK(Has(ErrorOf(Replaced(good, ": 1000,", ": \"x\",")), "keys[0].created_at"));
  CHECK(Has(ErrorOf(Replaced(good, "\"salt\": \"", "\"salt\": \"zz")), "keys[0].salt"));
  CHECK(Has(ErrorOf(Replaced(good, "\"hash\"", "\"hahs\"")), "keys[0].hash: is missing"));
  CHECK(Has(ErrorOf(Replaced(good, "\"name\"", "\"more\": 1, \"name\"")), "keys[0].more"));
  CHECK(Has(ErrorOf(Replaced(good, "\"name\"", "\"max_priority\": \"urgent\", \"name\"")),
            "keys[0].max_priority"));
  CHECK(Has(ErrorOf(Replaced(good, "\"name\"", "\"max_priority\": 1, \"name\"")),
            "keys[0].max_priority"));
  CHECK(Has(ErrorOf(Replaced(good, key.record.id, "short")), "keys[0].id"));
  CHECK(Has(ErrorOf(FormatKeyFile({key.record, key.record})), "keys[1].id"));
  CHECK(Has(ErrorOf("[]"), "keys"));
  CHECK(Has(ErrorOf("{\"keys\": {}}"), "keys"));
  for (size_t cut = 0; cut + 2 < good.size(); cut += 7) {
    CHECK(!ParseKeyFile(good.substr(0, cut)).ok());
  }
}

TEST_CASE("ReadKeyFile names the file", "[identity]") {
  TempDir dir;
  const std::string path = dir.File("keys.json");
  CHECK(Has(weft::ToString(ReadKeyFile(path).status()), path));
  std::ofstream(path) << "{";
  CHECK(Has(weft::ToString(ReadKeyFile(path).status()), path));
  std::ofstream(path) << FormatKeyFile({Make().record});
  CHECK(ReadKeyFile(path).ok());
}

TEST_CASE("A declared key signs in, is listed and is not revoked by the service", "[identity]") {
  TempDir dir;
  FakeClock clock;
  const CreatedKey declared = Make({.name = "declared", .tenant = "a"});
  auto store = KeyStore::OpenSqlite(dir.File("weft.db"));
  REQUIRE(store.ok());
  KeyServiceOptions options;
  options.pepper = "pepper";
  options.poll_interval = 1h;
  options.declared = {declared.record};
  KeyService keys(std::move(*store), options, clock);

  auto principal = keys.Authenticate({.api_key = declared.text});
  REQUIRE(principal.ok());
  CHECK((*principal)->tenant == "a");
  auto wrong = declared.text;
  wrong[30] = wrong[30] == 'a' ? 'b' : 'a';
  CHECK(!keys.Authenticate({.api_key = wrong}).ok());

  const auto made = keys.Create({.name = "stored"});
  REQUIRE(made.ok());
  CHECK(keys.Authenticate({.api_key = made->text}).ok());
  CHECK(keys.List("")->size() == 2);
  CHECK(keys.List("a")->size() == 1);
  CHECK(keys.List("b")->empty());

  CHECK(keys.Revoke(declared.record.id).code() == absl::StatusCode::kFailedPrecondition);
  keys.Maintain();
  CHECK(keys.Authenticate({.api_key = declared.text}).ok());
}

TEST_CASE("A declared key expires", "[identity]") {
  TempDir dir;
  FakeClock clock;
  CreatedKey declared = Make();
  declared.record.expires_at = weft::UnixSeconds(clock.Wall()) + 10;
  auto store = KeyStore::OpenSqlite(dir.File("weft.db"));
  REQUIRE(store.ok());
  KeyServiceOptions options;
  options.pepper = "pepper";
  options.poll_interval = 1h;
  options.declared = {declared.record};
  KeyService keys(std::move(*store), options, clock);
  CHECK(keys.Authenticate({.api_key = declared.text}).ok());
  clock.Advance(11s);
  CHECK(!keys.Authenticate({.api_key = declared.text}).ok());
}
