// kill -9 at any point: of the program that writes, and of the PostgreSQL server. What was
// acknowledged is there, once.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <future>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/store/audit_store.h"
#include "libs/store/batch_writer.h"
#include "libs/store/usage_store.h"
#include "tests/support/catch.h"
#include "tests/support/process.h"
#include "tests/unit/store/store_backends.h"

using namespace weft;
using namespace weft::store;
using weft::test::Backend;
using weft::test::StoreBackend;
using namespace std::chrono_literals;

namespace {

AuditRow Event() {
  AuditRow row;
  row.id = NewRequestId();
  row.tenant = "red";
  row.at_us = 1;
  row.user_id = "ann";
  row.action = "models:use";
  row.resource_type = "model";
  row.outcome = "ok";
  return row;
}

UsageRecord Use() {
  UsageRecord record;
  record.id = NewRequestId();
  record.tenant = "red";
  record.model = "m";
  record.completion_tokens = 1;
  record.at_us = 1;
  return record;
}

std::vector<std::string> Lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  if (!lines.empty() && lines.back().size() != 38) lines.pop_back();  // cut by the kill
  return lines;
}

struct Found {
  std::map<std::string, int> audit;
  std::map<std::string, int> usage;
};

// Everything that is there; the chain is whole and the sums are those of the records.
Found CheckAll(Database& db) {
  Found found;
  AuditFilter filter{.tenant = "red", .limit = 1000};
  while (true) {
    std::vector<AuditRow> rows;
    REQUIRE(db.Read(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
                WEFT_ASSIGN_OR_RETURN(rows, ReadAudit(s, filter));
                return absl::OkStatus();
              }).ok());
    for (const AuditRow& row : rows) ++found.audit[row.id];
    if (rows.size() < 1000) break;
    filter.after_seq = rows.back().seq;
  }
  std::string after;
  while (true) {
    std::vector<UsageRecord> records;
    REQUIRE(db.Read(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
                WEFT_ASSIGN_OR_RETURN(records, ReadUsage(s, "red", after, 1000));
                return absl::OkStatus();
              }).ok());
    for (const UsageRecord& record : records) ++found.usage[record.id];
    if (records.size() < 1000) break;
    after = records.back().id;
  }
  const auto report = VerifyAudit(db, "red", "key");
  REQUIRE(report.ok());
  CHECK(report->faults.empty());
  int64_t requests = -1;
  REQUIRE(db.Read(Scope::Tenant("red"), [&](Session& s) -> absl::Status {
              WEFT_ASSIGN_OR_RETURN(const auto sums, SumUsage(s, {}));
              requests = sums.at(0).requests;
              return absl::OkStatus();
            }).ok());
  CHECK(requests == static_cast<int64_t>(found.usage.size()));
  for (const auto& [id, count] : found.audit) CHECK(count == 1);
  for (const auto& [id, count] : found.usage) CHECK(count == 1);
  return found;
}

void CheckAcknowledged(Database& db, const std::vector<std::string>& acknowledged) {
  const Found found = CheckAll(db);
  size_t missing = 0;
  for (const std::string& line : acknowledged) {
    const auto& there = line[0] == 'a' ? found.audit : found.usage;
    if (!there.contains(line.substr(2))) ++missing;
  }
  CHECK(missing == 0);
  CHECK(std::set<std::string>(acknowledged.begin(), acknowledged.end()).size() ==
        acknowledged.size());
}

// Writes until it is killed: "a ID" or "u ID" in the file for each row that was acknowledged.
void WriteForEver(const std::string& where, const std::string& file,
                  const std::atomic<bool>& stop) {
  DatabaseOptions options;
  options.connect = 2000ms;
  options.longest_back_off = 100ms;
  std::shared_ptr<Database> db = *Database::Open(where, options);
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  std::atomic<int> waiting{0};
  const auto done = [&](char kind, const std::string& id) {
    return [&waiting, fd, line = std::string{kind, ' '} + id + "\n"](const absl::Status& status) {
      --waiting;
      if (status.ok() && write(fd, line.data(), line.size()) < 0) abort();
    };
  };
  {
    BatchWriter<AuditRow> audit([&](const std::vector<AuditRow>& rows, bool again) {
      return db->Write(Scope::System(),
                       [&](Session& s) { return AppendAudit(s, rows, "key", again); });
    });
    BatchWriter<UsageRecord> usage(
        [&](const std::vector<UsageRecord>& rows, bool) { return AddUsage(*db, rows); });
    while (!stop) {
      if (waiting > 200) {
        std::this_thread::sleep_for(1ms);
        continue;
      }
      waiting += 2;
      AuditRow event = Event();
      UsageRecord use = Use();
      const std::string event_id = event.id;
      const std::string use_id = use.id;
      audit.Add(std::move(event), done('a', event_id));
      usage.Add(std::move(use), done('u', use_id));
    }
  }
  close(fd);
}

void WaitForLines(const std::string& file, size_t count) {
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (Lines(file).size() < count) {
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(5ms);
  }
}

}  // namespace

// What the next test runs in a process of its own.
TEST_CASE("writes until it is killed", "[.][store_writer]") {
  const std::atomic<bool> never{false};
  WriteForEver(std::getenv("WEFT_TEST_DATABASE"), std::getenv("WEFT_TEST_FILE"), never);
}

TEST_CASE("kill -9 of the writing program loses nothing that was acknowledged, and doubles nothing",
          "[store]") {
  const StoreBackend backend(GENERATE(Backend::kSqlite, Backend::kPgBouncer));
  auto db = backend.OpenMigrated();
  const std::string file = backend.dir.File("acknowledged");
  for (int round = 1; round <= 3; ++round) {
    const size_t before = Lines(file).size();
    testing::Process writer({"/proc/self/exe", "[store_writer]"}, backend.dir.File("log"),
                            {{"WEFT_TEST_DATABASE", backend.where}, {"WEFT_TEST_FILE", file}});
    WaitForLines(file, before + 300);
    writer.Signal(SIGKILL);
    REQUIRE(writer.Wait(10s) == 128 + SIGKILL);
    CheckAcknowledged(*db, Lines(file));
  }
}

TEST_CASE("kill -9 of PostgreSQL loses nothing that was acknowledged, and doubles nothing",
          "[store]") {
  weft::test::PostgresServer server;
  const std::string url = server.NewDatabase();
  REQUIRE((*Database::Open(url))->Migrate(Schema()).ok());
  const weft::test::TempDir dir;
  const std::string file = dir.File("acknowledged");
  std::atomic<bool> stop{false};
  std::thread writer([&] { WriteForEver(url, file, stop); });
  for (int round = 0; round < 3; ++round) {
    WaitForLines(file, Lines(file).size() + 300);
    server.Kill();
    server.Start();
  }
  WaitForLines(file, Lines(file).size() + 300);
  stop = true;
  writer.join();
  CheckAcknowledged(**Database::Open(url), Lines(file));
}

TEST_CASE("A row that the database will not have does not hold up the others", "[store]") {
  int calls = 0;
  std::vector<std::string> written;
  std::map<std::string, absl::Status> answers;
  {
    BatchWriter<std::string> writer([&](const std::vector<std::string>& rows, bool) {
      ++calls;
      if (calls == 1) return Unavailable("away");
      for (const std::string& row : rows) {
        if (row == "bad") return InvalidArgument("bad");
      }
      written.insert(written.end(), rows.begin(), rows.end());
      return absl::OkStatus();
    });
    for (const char* row : {"a", "bad", "b"}) {
      REQUIRE(writer.Add(row, [&, row](const absl::Status& s) { answers[row] = s; }));
    }
    CHECK(writer.AddAndWait("c", 30s).ok());
  }
  CHECK(written == std::vector<std::string>{"a", "b", "c"});
  CHECK(answers["a"].ok());
  CHECK(answers["b"].ok());
  CHECK(answers["bad"].code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("Rows that nobody waits for gather until somebody does", "[store]") {
  std::vector<std::vector<int>> transactions;
  BatchWriterOptions options;
  options.gather = std::chrono::hours(1);
  BatchWriter<int> writer(
      [&](const std::vector<int>& rows, bool) {
        transactions.push_back(rows);
        return absl::OkStatus();
      },
      options);
  for (int i = 0; i < 3; ++i) REQUIRE(writer.Add(i));
  CHECK(writer.AddAndWait(3, 30s).ok());
  CHECK(transactions == std::vector<std::vector<int>>{{0, 1, 2, 3}});
  REQUIRE(writer.Add(4));
  CHECK(writer.AddAndWait(5, 30s).ok());
  CHECK(transactions.size() == 2);
}

TEST_CASE("Rows that nobody waits for are written soon", "[store]") {
  std::promise<absl::Status> written;
  BatchWriter<int> writer([](const std::vector<int>&, bool) { return absl::OkStatus(); });
  REQUIRE(writer.Add(1, [&](const absl::Status& s) { written.set_value(s); }));
  auto answer = written.get_future();
  REQUIRE(answer.wait_for(30s) == std::future_status::ready);
  CHECK(answer.get().ok());
}

TEST_CASE("A writer that is full says so, and one that ends gives up what cannot be written",
          "[store]") {
  absl::Status answer;
  {
    BatchWriterOptions options;
    options.capacity = 2;
    BatchWriter<int> writer([](const std::vector<int>&, bool) { return Unavailable("away"); },
                            options);
    CHECK(writer.AddAndWait(1, 1ms).code() == absl::StatusCode::kDeadlineExceeded);
    bool full = false;
    for (int i = 0; i < 4 && !full; ++i) {
      full = !writer.Add(i, [&](const absl::Status& s) { answer = s; });
    }
    CHECK(full);
    CHECK(writer.stats().refused == 1);
  }
  CHECK(answer.code() == absl::StatusCode::kUnavailable);
}
