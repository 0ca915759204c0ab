// The SQL interface, on SQLite, on a real PostgreSQL, and through a real PgBouncer.
#include "libs/store/database.h"

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <thread>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/store/store_backends.h"

using namespace weft;
using namespace weft::store;
using weft::test::Backend;
using weft::test::SharedPostgres;
using weft::test::StoreBackend;

namespace {

constexpr Migration kTable = {
    "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, r REAL, b BLOB) STRICT",
    "CREATE TABLE t (k TEXT PRIMARY KEY, n BIGINT, r DOUBLE PRECISION, b BYTEA)"};
constexpr Migration kColumn = {"ALTER TABLE t ADD COLUMN more INTEGER NOT NULL DEFAULT 7",
                               "ALTER TABLE t ADD COLUMN more BIGINT NOT NULL DEFAULT 7"};

std::shared_ptr<Database> WithTable(const StoreBackend& backend) {
  auto db = backend.Open();
  REQUIRE(db->Migrate(std::array{kTable}).ok());
  return db;
}

int64_t Count(Database& db) {
  const auto rows = db.ReadOne(Scope::System(), "SELECT count(*) FROM t", {});
  INFO(std::string(rows.status().message()));
  REQUIRE(rows.ok());
  return rows->rows.at(0).Int(0);
}

}  // namespace

TEST_CASE("Values come back as they were written", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTable(backend);
  std::string bytes(256, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
  const std::string text = "'; DROP TABLE t; -- $1 ?1 \\x00 \xc3\xa4 \xf0\x9f\xa6\x8a\n\t\"";
  for (const auto& [n, r] :
       {std::pair<int64_t, double>{INT64_MAX, 0.1}, {INT64_MIN, -1e308}, {0, 5e-324}}) {
    REQUIRE(db->WriteOne(Scope::System(), "DELETE FROM t", {}).ok());
    // Parameters in another order than their numbers, and one twice.
    REQUIRE(db->WriteOne(Scope::System(),
                         "INSERT INTO t (n, k, b, r) SELECT $3, $1, $2, $4 WHERE $1 = $1",
                         {text, Value::Blob(bytes), n, r})
                .ok());
    const auto rows = db->ReadOne(Scope::System(), "SELECT k, n, r, b FROM t WHERE k = $1", {text});
    REQUIRE(rows.ok());
    REQUIRE(rows->rows.size() == 1);
    CHECK(rows->rows[0].Text(0) == text);
    CHECK(rows->rows[0].Int(1) == n);
    CHECK(rows->rows[0].Real(2) == r);
    CHECK(rows->rows[0].Text(3) == bytes);
  }
  REQUIRE(db->WriteOne(Scope::System(), "INSERT INTO t VALUES ($1, $2, $3, $4)",
                       {"null", Value(), Value(), Value::Blob("")})
              .ok());
  const auto rows = db->ReadOne(Scope::System(), "SELECT n, r, b FROM t WHERE k = 'null'", {});
  CHECK(rows->rows.at(0)[0].null());
  CHECK(rows->rows.at(0)[1].null());
  CHECK_FALSE(rows->rows.at(0)[2].null());
}

TEST_CASE("Text that a database could not hold is refused by its parameter", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTable(backend);
  for (const std::string& bad :
       {std::string("a\0b", 3), std::string("\xff"), std::string("\xc0\x80"),
        std::string("\xed\xa0\x80"), std::string("\xf4\x90\x80\x80"), std::string("\xe2\x82")}) {
    const auto status =
        db->WriteOne(Scope::System(), "INSERT INTO t (k) VALUES ($1)", {bad}).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(Count(*db) == 0);
}

TEST_CASE("What a transaction wrote is there whole, or not at all", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTable(backend);
  const auto insert = [](Session& s, const char* key) {
    return s.Run("INSERT INTO t (k) VALUES ($1)", {key}).status();
  };
  CHECK_FALSE(db->Write(Scope::System(), [&](Session& s) -> absl::Status {
                  WEFT_RETURN_IF_ERROR(insert(s, "a"));
                  return FailedPrecondition("changed its mind");
                }).ok());
  CHECK(Count(*db) == 0);
  const auto twice = db->Write(Scope::System(), [&](Session& s) -> absl::Status {
    WEFT_RETURN_IF_ERROR(insert(s, "a"));
    return insert(s, "a");
  });
  CHECK(twice.code() == absl::StatusCode::kAlreadyExists);
  CHECK(Count(*db) == 0);
  REQUIRE(db->Write(Scope::System(), [&](Session& s) { return insert(s, "a"); }).ok());
  CHECK(Count(*db) == 1);
  const auto counted = db->WriteOne(Scope::System(), "UPDATE t SET n = 1", {});
  CHECK(counted->changed == 1);
  CHECK(db->WriteOne(Scope::System(), "DELETE FROM t WHERE k = 'none'", {})->changed == 0);
}

TEST_CASE("A transaction for reading cannot write", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTable(backend);
  CHECK_FALSE(db->ReadOne(Scope::System(), "INSERT INTO t (k) VALUES ('a')", {}).ok());
  CHECK(Count(*db) == 0);
}

TEST_CASE("Many threads count to the right number", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = WithTable(backend);
  REQUIRE(db->WriteOne(Scope::System(), "INSERT INTO t (k, n) VALUES ('n', 0)", {}).ok());
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 12; ++t) {  // more than there are connections
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        if (!db->WriteOne(Scope::System(), "UPDATE t SET n = n + 1 WHERE k = 'n'", {}).ok() ||
            !db->ReadOne(Scope::System(), "SELECT n FROM t", {}).ok()) {
          ++failed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  CHECK(db->ReadOne(Scope::System(), "SELECT n FROM t", {})->rows[0].Int(0) == 240);
}

TEST_CASE("Migrations run once each, in order, also when two programs start at once", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  const std::array steps = {kTable, kColumn};
  {
    auto db = backend.Open();
    REQUIRE(db->Migrate(std::span(steps).first(1)).ok());
    REQUIRE(db->WriteOne(Scope::System(), "INSERT INTO t (k) VALUES ('old')", {}).ok());
  }
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      auto db = Database::Open(backend.where);
      if (!db.ok() || !(*db)->Migrate(steps).ok()) ++failed;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
  auto db = backend.Open();
  REQUIRE(db->Migrate(steps).ok());
  CHECK(db->ReadOne(Scope::System(), "SELECT more FROM t", {})->rows[0].Int(0) == 7);
  const auto older = db->Migrate(std::span(steps).first(1));
  CHECK(older.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Message(older).find("newer program") != std::string_view::npos);
}

TEST_CASE("A migration that fails leaves the version and the tables as they were", "[store]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.Open();
  constexpr std::string_view kBroken = "CREATE TABLE t (a INTEGER); CREATE TABLE t (b INTEGER)";
  CHECK_FALSE(db->Migrate(std::array{Migration{kBroken, kBroken}}).ok());
  CHECK(db->Migrate(std::array{kTable}).ok());
}

TEST_CASE("PostgreSQL: the rows of another tenant do not exist, whatever a statement asks for",
          "[store]") {
  const StoreBackend backend(GENERATE(Backend::kPostgres, Backend::kPgBouncer));
  auto db = backend.OpenMigrated();
  for (const char* tenant : {"red", "blue"}) {
    REQUIRE(db->WriteOne(Scope::Tenant(tenant),
                         "INSERT INTO tenants (name, created_at) VALUES ($1, 1)", {tenant})
                .ok());
    REQUIRE(db->WriteOne(Scope::Tenant(tenant),
                         "INSERT INTO projects (tenant, name, created_at, updated_at) "
                         "VALUES ($1, 'p', 1, 1)",
                         {tenant})
                .ok());
  }
  const auto count = [&](const Scope& scope) {
    return db->ReadOne(scope, "SELECT count(*) FROM projects", {})->rows.at(0).Int(0);
  };
  // Every connection of the pool serves both scopes in turn.
  for (int i = 0; i < 8; ++i) {
    CHECK(count(Scope::Tenant("red")) == 1);
    CHECK(count(Scope::System()) == 2);
    CHECK(count(Scope::Tenant("green")) == 0);
    CHECK(count(Scope::Tenant("")) == 0);
  }
  CHECK(db->WriteOne(Scope::Tenant("red"), "DELETE FROM projects WHERE tenant = 'blue'", {})
            ->changed == 0);
  const auto moved =
      db->WriteOne(Scope::Tenant("red"), "UPDATE projects SET tenant = 'blue', name = 'q'", {});
  CHECK(moved.status().code() == absl::StatusCode::kPermissionDenied);
  CHECK(count(Scope::System()) == 2);
}

TEST_CASE("PostgreSQL: a role that row-level security does not bind is refused", "[store]") {
  const StoreBackend backend(Backend::kPostgres);
  const auto opened = Database::Open(SharedPostgres().AsSuperuser(backend.direct));
  CHECK(opened.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Message(opened.status()).find("superuser") != std::string_view::npos);
}

TEST_CASE("PostgreSQL: every table with tenants has row-level security, also for its owner",
          "[store]") {
  const StoreBackend backend(Backend::kPostgres);
  backend.OpenMigrated();
  // What belongs to nobody.
  CHECK(SharedPostgres().Sql(
            backend.direct,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity) "
            "ORDER BY relname") == "audit_upkeep\nstore_changes\nupkeep\nweft_schema\n");
}

TEST_CASE("PostgreSQL: no statement of ours leaves something in the session", "[store]") {
  const StoreBackend backend(Backend::kPgBouncer);
  auto db = backend.OpenMigrated();
  REQUIRE(db->ReadOne(Scope::Tenant("red"), "SELECT 1", {}).ok());
  // Whoever gets the same server connection next, outside of a transaction of ours.
  auto other = Database::Open(backend.where);
  const auto left = (*other)->ReadOne(Scope::Tenant("x"),
                                      "SELECT (SELECT count(*) FROM pg_prepared_statements), "
                                      "current_setting('weft.tenant', true)",
                                      {});
  REQUIRE(left.ok());
  CHECK(left->rows[0].Int(0) == 0);
  CHECK(left->rows[0].Text(1) == "x");
}

TEST_CASE("PostgreSQL: a server that was killed is found again by itself", "[store]") {
  weft::test::PostgresServer server;  // not the one of the other tests
  const std::string url = server.NewDatabase();
  DatabaseOptions options;
  options.connect = std::chrono::milliseconds(2000);
  options.longest_back_off = std::chrono::milliseconds(100);
  auto opened = Database::Open(url, options);
  REQUIRE(opened.ok());
  Database& db = **opened;
  REQUIRE(db.Migrate(std::array{kTable}).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> acknowledged{0};
  std::atomic<int> refused{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const auto status =
          db.WriteOne(Scope::System(), "INSERT INTO t (k, n) VALUES ($1, 1)", {std::to_string(i)})
              .status();
      if (status.ok()) {
        ++acknowledged;
      } else {
        CHECK(status.code() == absl::StatusCode::kUnavailable);
        ++refused;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  });
  const auto wait_for = [&](std::atomic<int>& counter) {
    const int target = counter + 20;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (counter < target && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(counter >= target);
  };
  for (int round = 0; round < 2; ++round) {
    wait_for(acknowledged);
    server.Kill();
    wait_for(refused);
    server.Start();
    wait_for(acknowledged);
  }
  stop = true;
  writer.join();
  // Nothing that was acknowledged is lost; a commit whose answer was lost may be there besides.
  const int64_t there = Count(db);
  CHECK(there >= acknowledged);
  CHECK(there <= acknowledged + 2);
}

TEST_CASE("PostgreSQL: a server that does not answer costs the time limit, not a thread",
          "[store]") {
  const StoreBackend backend(Backend::kPostgres);
  DatabaseOptions options;
  options.statement = std::chrono::milliseconds(200);
  auto db = backend.Open(options);
  const auto begin = std::chrono::steady_clock::now();
  const auto slow = db->ReadOne(Scope::System(), "SELECT pg_sleep(30)", {});
  CHECK(slow.status().code() == absl::StatusCode::kUnavailable);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(15));
  CHECK(db->ReadOne(Scope::System(), "SELECT 1", {}).ok());
}

TEST_CASE("An address of a database shows no password", "[store]") {
  CHECK(Database::ShownName("/var/lib/weft/gateway.db") == "/var/lib/weft/gateway.db");
  for (const char* url : {"postgresql://user:geheim@db.example:5433/weft?sslmode=verify-full",
                          "postgres://db.example:5433/weft?password=geheim&user=a%40b"}) {
    CHECK(Database::ShownName(url) == "postgresql://db.example:5433/weft");
  }
  const auto bad = Database::Open("postgresql://user:geheim@host:port:x/db?nonsense=1");
  CHECK(bad.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Message(bad.status()).find("geheim") == std::string_view::npos);
  DatabaseOptions options;
  options.connect = std::chrono::milliseconds(500);
  const auto away = Database::Open("postgresql://user:geheim@127.0.0.1:1/db", options);
  CHECK(away.status().code() == absl::StatusCode::kUnavailable);
  CHECK(Message(away.status()).find("geheim") == std::string_view::npos);
}
