#include "libs/store/key_store.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "libs/base/status.h"
#include "libs/store/sqlite.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using weft::Message;
using weft::store::Database;
using weft::store::KeyRecord;
using weft::store::KeyStore;
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

TEST_CASE("A file from before keys had priorities is brought up to date", "[store]") {
  TempDir dir;
  const std::string path = dir.File("weft.db");
  KeyRecord capped = Sample("capped");
  capped.max_priority = "low";
  {
    auto store = Open(path);
    REQUIRE(store->Insert(capped).ok());
    CHECK((*store->Find("capped"))->max_priority == "low");
    KeyRecord wrong = Sample("wrong");
    wrong.max_priority = "urgent";
    CHECK_FALSE(store->Insert(wrong).ok());
  }
  {
    auto db = Database::Open(path);
    REQUIRE((*db)->Execute("ALTER TABLE api_keys DROP COLUMN max_priority").ok());
    REQUIRE((*db)->Execute("PRAGMA user_version = 1").ok());
  }
  auto store = Open(path);
  const auto old = store->Find("capped");
  REQUIRE(old.ok());
  CHECK((*old)->max_priority.empty());
  CHECK((*old)->requests_per_minute == 60);
  KeyRecord fresh = Sample("fresh");
  fresh.max_priority = "high";
  REQUIRE(store->Insert(fresh).ok());
  CHECK((*store->Find("fresh"))->max_priority == "high");
}

TEST_CASE("Keys are listed by tenant, newest first", "[store]") {
  TempDir dir;
  auto store = Open(dir.File("weft.db"));
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
  TempDir dir;
  auto store = Open(dir.File("weft.db"));
  REQUIRE(store->Insert(Sample("a")).ok());
  REQUIRE(store->Revoke("a", 5).ok());
  REQUIRE(store->Revoke("a", 9).ok());
  CHECK((*store->Find("a"))->revoked_at == 5);
  const auto missing = store->Revoke("zz", 5);
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CHECK(Contains(Message(missing), "zz"));
}

TEST_CASE("The time of last use never moves back", "[store]") {
  TempDir dir;
  auto store = Open(dir.File("weft.db"));
  REQUIRE(store->Insert(Sample("a")).ok());
  REQUIRE(store->Touch({{"a", 50}, {"unknown", 1}}).ok());
  REQUIRE(store->Touch({{"a", 40}}).ok());
  CHECK((*store->Find("a"))->last_used_at == 50);
}

TEST_CASE("A write by another connection changes the change number", "[store]") {
  TempDir dir;
  const std::string path = dir.File("weft.db");
  auto one = Open(path);
  auto two = Open(path);
  const int64_t before = *one->ChangeNumber();
  REQUIRE(one->Insert(Sample("own")).ok());
  CHECK(*one->ChangeNumber() == before);
  REQUIRE(two->Insert(Sample("other")).ok());
  CHECK(*one->ChangeNumber() != before);
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

TEST_CASE("Migrations run once each, in order, and a newer file is refused", "[store]") {
  TempDir dir;
  const std::string path = dir.File("m.db");
  const std::array<std::string_view, 2> steps = {"CREATE TABLE t (a INTEGER)",
                                                 "ALTER TABLE t ADD COLUMN b INTEGER"};
  {
    auto db = Database::Open(path);
    REQUIRE(db.ok());
    REQUIRE((*db)->Migrate(std::span(steps).first(1)).ok());
    REQUIRE((*db)->Execute("INSERT INTO t VALUES (7)").ok());
  }
  auto db = Database::Open(path);
  REQUIRE((*db)->Migrate(steps).ok());
  REQUIRE((*db)->Migrate(steps).ok());
  {
    auto select = (*db)->Prepare("SELECT a, b FROM t");
    REQUIRE(select.ok());
    REQUIRE(*select->Step());
    CHECK(select->Int(0) == 7);
  }
  const auto older = (*db)->Migrate(std::span(steps).first(1));
  CHECK(older.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(Message(older), "newer program"));
}

TEST_CASE("A migration that fails leaves the version and the tables as they were", "[store]") {
  TempDir dir;
  auto db = Database::Open(dir.File("m.db"));
  const std::array<std::string_view, 1> broken = {"CREATE TABLE t (a INTEGER); CREATE TABLE t (b)"};
  CHECK_FALSE((*db)->Migrate(broken).ok());
  const std::array<std::string_view, 1> good = {"CREATE TABLE t (a INTEGER)"};
  CHECK((*db)->Migrate(good).ok());
}
