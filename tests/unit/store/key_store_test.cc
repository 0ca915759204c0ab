#include "libs/store/key_store.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "libs/base/status.h"
#include "libs/store/schema.h"
#include "libs/store/sqlite.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/store/store_backends.h"

using weft::Message;
using weft::store::KeyRecord;
using weft::store::KeyStore;
using weft::store::SqliteConnection;
using weft::test::StoreBackend;
using weft::test::TempDir;

namespace {

KeyRecord Sample(std::string id, std::string tenant = "default", int64_t created_at = 1000) {
  KeyRecord key;
  key.id = std::move(id);
  key.name = "a name";
  key.tenant = std::move(tenant);
  key.role = "developer";
  key.salt = std::string(16, '\0');
  key.secret_hash = std::string(32, '\x7f');
  key.created_at = created_at;
  return key;
}

std::unique_ptr<KeyStore> Open(const std::string& path) {
  auto store = KeyStore::OpenSqlite(path);
  REQUIRE(store.ok());
  return std::move(*store);
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("A key is found again after the store was closed", "[store]") {
  TempDir dir;
  const std::string path = dir.File("weft.db");
  {
    auto store = Open(path);
    REQUIRE(store->Insert(Sample("k1")).ok());
    CHECK(store->Insert(Sample("k1")).code() == absl::StatusCode::kAlreadyExists);
  }
  auto store = Open(path);
  const auto found = store->Find("k1");
  REQUIRE(found.ok());
  REQUIRE(found->has_value());
  CHECK((*found)->salt == std::string(16, '\0'));
  CHECK((*found)->secret_hash == std::string(32, '\x7f'));
  CHECK((*found)->requests_per_minute == 60);
  CHECK_FALSE(store->Find("k2")->has_value());
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("A key is kept with everything that it has", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto store = KeyStore::Over(backend.OpenMigrated());
  KeyRecord key = Sample("full");
  key.max_priority = "low";
  key.project = "p";
  key.user_id = "u";
  key.environment = "prod";
  key.scopes = R"(["models:use"])";
  key.allowed_ips = R"(["10.0.0.0/8"])";
  key.allowed_models = R"(["m"])";
  key.replaces = "older";
  REQUIRE(store->Insert(key).ok());
  const auto found = store->Find("full");
  REQUIRE(found.ok());
  REQUIRE(found->has_value());
  CHECK((*found)->max_priority == "low");
  CHECK((*found)->project == "p");
  CHECK((*found)->user_id == "u");
  CHECK((*found)->environment == "prod");
  CHECK((*found)->scopes == key.scopes);
  CHECK((*found)->allowed_ips == key.allowed_ips);
  CHECK((*found)->allowed_models == key.allowed_models);
  CHECK((*found)->replaces == "older");
  KeyRecord wrong = Sample("wrong");
  wrong.max_priority = "urgent";
  CHECK_FALSE(store->Insert(wrong).ok());
}

TEST_CASE("A file of every older version is brought up to date with its keys", "[store]") {
  const auto steps = weft::store::Schema();
  for (size_t version = 1; version <= steps.size(); ++version) {
    TempDir dir;
    const std::string path = dir.File("weft.db");
    {
      // As the program of that version left it.
      auto db = SqliteConnection::Open(path);
      REQUIRE(db.ok());
      for (size_t step = 0; step < version; ++step) {
        REQUIRE((*db)->Execute(std::string(steps[step].sqlite)).ok());
      }
      REQUIRE((*db)->Execute(fmt::format("PRAGMA user_version = {}", version)).ok());
      REQUIRE((*db)->Execute("INSERT INTO tenants (name, created_at) VALUES ('red', 5)").ok());
      REQUIRE((*db)
                  ->Execute("INSERT INTO api_keys (id, name, tenant, role, salt, secret_hash, "
                            "requests_per_minute, created_at, revoked_at) VALUES ('old', 'a name', "
                            "'red', 'admin', zeroblob(16), zeroblob(32), 77, 5, 9)")
                  .ok());
    }
    auto store = Open(path);
    const auto old = store->Find("old");
    REQUIRE(old.ok());
    REQUIRE(old->has_value());
    CHECK((*old)->tenant == "red");
    CHECK((*old)->role == "admin");
    CHECK((*old)->requests_per_minute == 77);
    CHECK((*old)->revoked_at == 9);
    CHECK((*old)->max_priority.empty());
    CHECK((*old)->scopes == "[]");
    REQUIRE(store->Insert(Sample("fresh", "red")).ok());
    CHECK(store->List("red")->size() == 2);
  }
}

TEST_CASE("PostgreSQL of every older version is brought up to date with its keys", "[store]") {
  const auto steps = weft::store::Schema();
  for (size_t version = 1; version <= steps.size(); ++version) {
    const StoreBackend backend(weft::test::Backend::kPostgres);
    auto db = backend.Open();
    REQUIRE(db->Migrate(steps.first(version)).ok());
    const auto system = weft::store::Scope::System();
    REQUIRE(
        db->WriteOne(system, "INSERT INTO tenants (name, created_at) VALUES ('red', 5)", {}).ok());
    REQUIRE(db->WriteOne(system,
                         "INSERT INTO api_keys (id, name, tenant, role, salt, secret_hash, "
                         "requests_per_minute, created_at) VALUES ('old', 'n', 'red', 'admin', $1, "
                         "$2, 77, 5)",
                         {weft::store::Value::Blob(std::string(16, 's')),
                          weft::store::Value::Blob(std::string(32, 'h'))})
                .ok());
    auto again = backend.OpenMigrated();
    auto store = KeyStore::Over(again);
    CHECK((*store->Find("old"))->requests_per_minute == 77);
    REQUIRE(store->Insert(Sample("fresh", "red")).ok());
    CHECK(store->List("red")->size() == 2);
  }
}

TEST_CASE("Keys are listed by tenant, newest first", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto store = KeyStore::Over(backend.OpenMigrated());
  REQUIRE(store->Insert(Sample("a", "red", 1)).ok());
  REQUIRE(store->Insert(Sample("b", "red", 2)).ok());
  REQUIRE(store->Insert(Sample("c", "blue", 3)).ok());
  CHECK(store->List("")->size() == 3);
  const auto red = store->List("red");
  REQUIRE(red->size() == 2);
  CHECK((*red)[0].id == "b");
  CHECK(store->List("' OR 1=1 --")->empty());
}

TEST_CASE("Revoking keeps the first time and names a key that is not there", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto store = KeyStore::Over(backend.OpenMigrated());
  REQUIRE(store->Insert(Sample("a")).ok());
  REQUIRE(store->Revoke("a", 5).ok());
  REQUIRE(store->Revoke("a", 9).ok());
  CHECK((*store->Find("a"))->revoked_at == 5);
  const auto missing = store->Revoke("zz", 5);
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CHECK(Contains(Message(missing), "zz"));
}

TEST_CASE("The time of last use never moves back", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto store = KeyStore::Over(backend.OpenMigrated());
  REQUIRE(store->Insert(Sample("a")).ok());
  REQUIRE(store->Touch({{"a", 50}, {"unknown", 1}}).ok());
  REQUIRE(store->Touch({{"a", 40}}).ok());
  CHECK((*store->Find("a"))->last_used_at == 50);
}

TEST_CASE("Making and ending keys changes the change number for every process; use does not",
          "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto one = KeyStore::Over(backend.OpenMigrated());
  auto two = KeyStore::Over(backend.OpenMigrated());
  int64_t last = *one->ChangeNumber();
  const auto moved = [&] {
    const int64_t before = std::exchange(last, *one->ChangeNumber());
    return before != last;
  };
  REQUIRE(two->Insert(Sample("a")).ok());
  CHECK(moved());
  REQUIRE(two->Touch({{"a", 50}}).ok());
  CHECK_FALSE(moved());
  REQUIRE(two->Expire("a", 60).ok());
  CHECK(moved());
  REQUIRE(two->Expire("a", 90).ok());
  CHECK((*one->Find("a"))->expires_at == 60);
  REQUIRE(two->Revoke("a", 5).ok());
  CHECK(moved());
}

TEST_CASE("A damaged file is an error that names it, and stays as it is", "[store]") {
  TempDir dir;
  const std::string path = dir.File("weft.db");
  std::string bytes(8192, 'x');
  SECTION("no database at all") {}
  SECTION("a page of a database is overwritten") {
    {
      auto store = Open(path);
      for (int i = 0; i < 200; ++i) REQUIRE(store->Insert(Sample("key" + std::to_string(i))).ok());
    }
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
    REQUIRE(bytes.size() > 16384);
    for (size_t i = 4096; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31);
  }
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  const auto store = KeyStore::OpenSqlite(path);
  REQUIRE_FALSE(store.ok());
  CHECK(store.status().code() == absl::StatusCode::kDataLoss);
  CHECK(Contains(Message(store.status()), path));
  std::ifstream in(path, std::ios::binary);
  const std::string after(std::istreambuf_iterator<char>(in), {});
  CHECK(after == bytes);
}

TEST_CASE("A read-only file or a path that cannot be is an error that names it", "[store]") {
  TempDir dir;
  CHECK(Contains(Message(KeyStore::OpenSqlite(dir.path()).status()), dir.path()));
  CHECK(Contains(Message(KeyStore::OpenSqlite(dir.File("no/such/dir.db")).status()),
                 "no/such/dir.db"));
  const std::string path = dir.File("weft.db");
  { Open(path); }
  REQUIRE(chmod(path.c_str(), 0444) == 0);
  REQUIRE(chmod(dir.path().c_str(), 0755) == 0);
  // Root may write anything: the child gives that up.
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(3);
    const auto store = KeyStore::OpenSqlite(path);
    const bool clear = store.status().code() == absl::StatusCode::kFailedPrecondition &&
                       Contains(Message(store.status()), "cannot be written");
    _exit(clear ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
