// The audit's chain: what it keeps, and what a reader finds out about rows that were tampered with.
#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/store/audit_store.h"
#include "tests/support/catch.h"
#include "tests/unit/store/store_backends.h"

using namespace weft;
using namespace weft::store;
using weft::test::Backend;
using weft::test::SharedPostgres;
using weft::test::StoreBackend;

namespace {

const std::string kKey = "a key of the audit";

AuditRow Event(std::string tenant, std::string user, std::string action, int64_t at_us = 1000) {
  AuditRow row;
  row.id = NewRequestId();
  row.tenant = std::move(tenant);
  row.at_us = at_us;
  row.user_id = std::move(user);
  row.action = std::move(action);
  row.resource_type = "project";
  row.resource_id = "p1";
  row.outcome = "ok";
  row.details = R"({"a":1})";
  row.ip_address = "192.0.2.7";
  row.user_agent = "test";
  return row;
}

void Append(Database& db, std::vector<AuditRow> rows, bool again = false) {
  const absl::Status status =
      db.Write(Scope::System(), [&](Session& s) { return AppendAudit(s, rows, kKey, again); });
  INFO(std::string(status.message()));
  REQUIRE(status.ok());
}

std::vector<AuditRow> Read(Database& db, const std::string& tenant) {
  std::vector<AuditRow> rows;
  REQUIRE(db.Read(Scope::Tenant(tenant), [&](Session& s) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(rows, ReadAudit(s, {.tenant = tenant, .limit = 1000}));
              return absl::OkStatus();
            }).ok());
  return rows;
}

std::vector<std::string> Faults(Database& db, const std::string& tenant,
                                const std::string& key = kKey) {
  const auto report = VerifyAudit(db, tenant, key);
  INFO(std::string(report.status().message()));
  REQUIRE(report.ok());
  return report->faults;
}

void Fill(Database& db, const std::string& tenant, int rows) {
  std::vector<AuditRow> events;
  for (int i = 0; i < rows; ++i) {
    events.push_back(Event(tenant, i % 2 == 0 ? "ann" : "bob", "projects:write", 1000 * (i + 1)));
  }
  Append(db, events);
}

// What somebody with the database's file or the superuser's password can do.
void Tamper(const StoreBackend& backend, Database& db, const std::string& sql) {
  if (!backend.direct.empty()) {
    SharedPostgres().Sql(backend.direct, "ALTER TABLE audit_logs DISABLE TRIGGER ALL; " + sql +
                                             "; ALTER TABLE audit_logs ENABLE TRIGGER ALL");
    return;
  }
  REQUIRE(db.Write(Scope::System(), [&](Session& s) -> absl::Status {
              WEFT_RETURN_IF_ERROR(s.Run("INSERT INTO audit_upkeep VALUES ('x')").status());
              WEFT_RETURN_IF_ERROR(s.Run(sql).status());
              return s.Run("DELETE FROM audit_upkeep").status();
            }).ok());
}

}  // namespace

TEST_CASE("Rows of the audit come back as they were written, each tenant's in its own chain",
          "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 70);
  Append(*db,
         {Event("blue", "eve", "login"), Event("red", "ann", "login"), Event("", "", "start")});
  const auto red = Read(*db, "red");
  REQUIRE(red.size() == 71);
  CHECK(red[0].seq == 1);
  CHECK(red[70].seq == 71);
  CHECK(red[70].action == "login");
  CHECK(red[0].details == R"({"a":1})");
  CHECK(red[0].user_agent == "test");
  CHECK(Read(*db, "blue").size() == 1);
  CHECK(Faults(*db, "red").empty());
  CHECK(Faults(*db, "blue").empty());
  CHECK(Faults(*db, "").empty());
  CHECK(VerifyAudit(*db, "green", kKey).status().code() == absl::StatusCode::kNotFound);
  // Without the key the chain cannot be made anew, nor be taken for whole.
  CHECK_FALSE(Faults(*db, "red", "another key").empty());
}

TEST_CASE("The audit of another tenant cannot be read", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 2);
  const absl::Status status = db->Read(
      Scope::Tenant("blue"), [&](Session& s) { return ReadAudit(s, {.tenant = "red"}).status(); });
  CHECK(status.code() == absl::StatusCode::kPermissionDenied);
}

TEST_CASE("The audit can be asked by user, action, resource and time", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 10);
  const auto count = [&](AuditFilter filter) {
    filter.tenant = "red";
    size_t rows = 0;
    REQUIRE(db->Read(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
                WEFT_ASSIGN_OR_RETURN(const auto read, ReadAudit(s, filter));
                rows = read.size();
                if (filter.newest_first) CHECK(read.front().seq > read.back().seq);
                return absl::OkStatus();
              }).ok());
    return rows;
  };
  CHECK(count({.tenant = {}, .user_id = "ann"}) == 5);
  CHECK(count({.tenant = {}, .action = "login"}) == 0);
  CHECK(count({.tenant = {}, .resource_type = "project", .resource_id = "p1"}) == 10);
  CHECK(count({.tenant = {}, .from_us = 3000, .until_us = 6000}) == 3);
  CHECK(count({.tenant = {}, .after_seq = 8}) == 2);
  CHECK(count({.tenant = {}, .after_seq = 8, .limit = 3, .newest_first = true}) == 3);
}

TEST_CASE("A row that was tampered with, removed, added or moved is found", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 6);
  const auto head = VerifyAudit(*db, "red", kKey)->head;
  CHECK(Faults(*db, "red").empty());
  const auto found = [&](const std::string& sql, const std::string& words) {
    Tamper(backend, *db, sql);
    const auto faults = Faults(*db, "red");
    REQUIRE_FALSE(faults.empty());
    CHECK(faults[0].find(words) != std::string::npos);
  };
  SECTION("who") { found("UPDATE audit_logs SET user_id = 'eve' WHERE seq = 3", "row 3"); }
  SECTION("details") { found("UPDATE audit_logs SET details = '{}' WHERE seq = 3", "row 3"); }
  SECTION("what") { found("UPDATE audit_logs SET action = 'x' WHERE seq = 3", "row 3"); }
  SECTION("when") { found("UPDATE audit_logs SET created_at_us = 1 WHERE seq = 3", "row 3"); }
  SECTION("outcome") { found("UPDATE audit_logs SET outcome = 'no' WHERE seq = 3", "row 3"); }
  SECTION("erased without a word") {
    found(
        "UPDATE audit_logs SET user_id = '', key_id = '', resource_id = '', details = '{}', "
        "ip_address = '', user_agent = '', erased = 1 WHERE seq = 3",
        "row 3: is erased");
  }
  SECTION("removed") { found("DELETE FROM audit_logs WHERE seq = 3", "row 3: is missing"); }
  SECTION("the last one removed") {
    found("DELETE FROM audit_logs WHERE seq = 6", "row 6: is missing at the end");
  }
  SECTION("all removed") { found("DELETE FROM audit_logs", "row 1: is missing"); }
  SECTION("two exchanged") {
    found("UPDATE audit_logs SET seq = CASE seq WHEN 3 THEN 40 ELSE 30 END WHERE seq IN (3, 4)",
          "row 3: is missing");
  }
  SECTION("the beginning cut off, as if pruned") {
    Tamper(backend, *db, "DELETE FROM audit_logs WHERE seq <= 2");
    REQUIRE(
        db->WriteOne(Scope::System(), "UPDATE audit_heads SET first_seq = 3, first_hash = hash", {})
            .ok());
    CHECK_FALSE(Faults(*db, "red").empty());
  }
  SECTION("the end cut off together with its head, which only who saw the head can know") {
    const auto rows = Read(*db, "red");
    Tamper(backend, *db, "DELETE FROM audit_logs WHERE seq > 4");
    REQUIRE(db->WriteOne(Scope::System(), "UPDATE audit_heads SET seq = 4, hash = $1",
                         {Value::Blob(rows[3].hash)})
                .ok());
    CHECK(Faults(*db, "red").empty());
    const auto report = VerifyAudit(*db, "red", kKey, {{head.seq, head.hash}});
    REQUIRE(report.ok());
    REQUIRE(report->faults.size() == 1);
    CHECK(report->faults[0] == "row 6: was seen earlier, and is gone");
  }
}

TEST_CASE("The database itself refuses to change rows of the audit", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 3);
  CHECK_FALSE(db->WriteOne(Scope::System(), "UPDATE audit_logs SET user_id = 'eve'", {}).ok());
  CHECK_FALSE(db->WriteOne(Scope::System(), "DELETE FROM audit_logs", {}).ok());
  CHECK(Faults(*db, "red").empty());
}

TEST_CASE("The same event written again is there once", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  const std::vector<AuditRow> events = {Event("red", "ann", "a"), Event("red", "ann", "b")};
  Append(*db, events);
  Append(*db, {events[1], Event("red", "ann", "c")}, true);
  CHECK(Read(*db, "red").size() == 3);
  CHECK(Faults(*db, "red").empty());
}

TEST_CASE("A person's data is erased, and the chain stays whole and says so", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 10);
  Fill(*db, "blue", 2);
  int64_t erased = 0;
  REQUIRE(db->Write(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(erased,
                                    EraseAudit(s, "red", {"ann"}, Event("red", "op", ""), kKey));
              return absl::OkStatus();
            }).ok());
  CHECK(erased == 5);
  const auto rows = Read(*db, "red");
  REQUIRE(rows.size() == 11);
  for (const AuditRow& row : rows) CHECK(row.user_id != "ann");
  CHECK(rows[0].ip_address.empty());
  CHECK(rows[1].user_id == "bob");
  CHECK(rows[10].action == kAuditErase);
  const auto report = VerifyAudit(*db, "red", kKey);
  CHECK(report->faults.empty());
  CHECK(report->erased == 5);
  CHECK(Faults(*db, "blue").empty());
}

TEST_CASE("Old rows are pruned, and the chain stays whole and says so", "[store][audit]") {
  const StoreBackend backend(WEFT_ALL_BACKENDS);
  auto db = backend.OpenMigrated();
  Fill(*db, "red", 10);
  const auto prune = [&](int64_t before) {
    int64_t gone = -1;
    REQUIRE(db->Write(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
                WEFT_ASSIGN_OR_RETURN(
                    gone, PruneAudit(s, "red", before, Event("red", "op", "", 20'000), kKey));
                return absl::OkStatus();
              }).ok());
    return gone;
  };
  CHECK(prune(1000) == 0);
  CHECK(prune(4500) == 4);
  CHECK(Read(*db, "red").front().seq == 5);
  CHECK(Faults(*db, "red").empty());
  CHECK(prune(8500) == 4);
  CHECK(Faults(*db, "red").empty());
  Fill(*db, "red", 3);
  CHECK(Faults(*db, "red").empty());
}

TEST_CASE("An exported row reads back as it was, and a chain of them verifies", "[store][audit]") {
  const StoreBackend backend(Backend::kSqlite);
  auto db = backend.OpenMigrated();
  AuditRow strange = Event("red", "ann", "x");
  strange.user_agent = "caf\xc3\xa9 \"q\" \\ \xff\x01";
  Append(*db, {strange});
  Fill(*db, "red", 3);
  const auto head = VerifyAudit(*db, "red", kKey)->head;
  AuditVerifier verifier(head, kKey);
  for (const AuditRow& row : Read(*db, "red")) {
    const auto back = ParseAuditJson(AuditJson(row));
    REQUIRE(back.ok());
    verifier.Feed(*back);
  }
  CHECK(verifier.Finish().empty());
  CHECK_FALSE(ParseAuditJson("{}").ok());
  CHECK_FALSE(ParseAuditJson("[]").ok());
}
