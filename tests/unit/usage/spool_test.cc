#include "libs/usage/spool.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft::usage {
namespace {

using namespace std::chrono_literals;

// Keeps rows by id, as a table with a primary key does.
class Table final : public UsageSink {
 public:
  absl::Status Write(std::span<const UsageRow> rows) override {
    std::lock_guard lock(mutex_);
    ++writes_;
    if (away_) return Unavailable("the store is away");
    for (const UsageRow& row : rows) {
      if (!rows_.try_emplace(row.id, row).second) ++again_;
    }
    return absl::OkStatus();
  }
  absl::Status WriteNotes(std::span<const std::string> notes) override {
    std::lock_guard lock(mutex_);
    if (away_) return Unavailable("the store is away");
    notes_.insert(notes_.end(), notes.begin(), notes.end());
    return absl::OkStatus();
  }
  std::vector<std::string> notes() {
    std::lock_guard lock(mutex_);
    return notes_;
  }
  void SetAway(bool away) {
    std::lock_guard lock(mutex_);
    away_ = away;
  }
  std::map<std::string, UsageRow> rows() {
    std::lock_guard lock(mutex_);
    return rows_;
  }
  int writes() {
    std::lock_guard lock(mutex_);
    return writes_;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, UsageRow> rows_;
  std::vector<std::string> notes_;
  int writes_ = 0;
  int again_ = 0;
  bool away_ = false;
};

SpoolOptions OptionsIn(const test::TempDir& dir) {
  SpoolOptions out;
  out.folder = dir.File("usage");
  out.min_retry = 1ms;
  out.max_retry = 5ms;
  return out;
}

UsageRow RowOf(const std::string& id, uint64_t completion = 0) {
  UsageRow row;
  row.id = id;
  row.tenant = "acme";
  row.model = "m";
  row.outcome = completion > 0 ? "stop" : "";
  row.completion_tokens = completion;
  row.created_at_us = 1'790'000'000'000'000;
  return row;
}

size_t FilesIn(const std::string& folder) {
  size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    n += entry.path().extension() == ".jsonl";
  }
  return n;
}

TEST_CASE("What ended reaches the store, in one write for many", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  table->SetAway(true);
  auto spool = Spool::Open(OptionsIn(dir), table).value();
  for (int i = 0; i < 300; ++i) {
    const auto ticket = spool->Begin(RowOf(std::to_string(i)));
    spool->End(ticket, RowOf(std::to_string(i), 7));
  }
  CHECK(spool->stats().written_bytes > 0);
  table->SetAway(false);
  REQUIRE(spool->Flush(30s));
  const auto rows = table->rows();
  REQUIRE(rows.size() == 300);
  CHECK(rows.at("17") == RowOf("17", 7));
  CHECK(spool->stats().written_bytes == 0);
  const std::string folder = dir.File("usage");
  spool.reset();
  CHECK(FilesIn(folder) == 0);
}

TEST_CASE("Notes reach the store in their order, also from the next process", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  table->SetAway(true);
  std::vector<std::string> all;
  {
    auto spool = Spool::Open(OptionsIn(dir), table).value();
    for (int i = 0; i < 1200; ++i) {
      const auto ticket = spool->Begin(RowOf(std::to_string(i)));
      all.push_back("note " + std::to_string(i));
      REQUIRE(spool->Note(all.back()).ok());
      spool->End(ticket, RowOf(std::to_string(i), 1));
    }
    CHECK_FALSE(spool->Note("two\nlines").ok());
    CHECK_FALSE(spool->Note(std::string(100'000, 'x')).ok());
  }
  CHECK(table->notes().empty());
  table->SetAway(false);
  auto spool = Spool::Open(OptionsIn(dir), table).value();
  REQUIRE(spool->Flush(30s));
  CHECK(table->notes() == all);
  CHECK(table->rows().size() == 1200);
}

TEST_CASE("A store that was away gets everything later, also from the next process", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  table->SetAway(true);
  {
    auto spool = Spool::Open(OptionsIn(dir), table).value();
    for (int i = 0; i < 10; ++i) {
      spool->End(spool->Begin(RowOf(std::to_string(i))), RowOf(std::to_string(i), 1));
    }
    CHECK_FALSE(spool->Flush(20ms));
  }
  CHECK(table->rows().empty());
  table->SetAway(false);
  auto spool = Spool::Open(OptionsIn(dir), table).value();
  REQUIRE(spool->Flush(30s));
  CHECK(table->rows().size() == 10);
}

TEST_CASE("Files that are stored go, and what runs is known without them", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  SpoolOptions options = OptionsIn(dir);
  options.file_bytes = 2'000;
  {
    auto spool = Spool::Open(options, table).value();
    const auto runs = spool->Begin(RowOf("runs"));
    spool->Progress(runs, 3, 1, 5);
    for (int i = 0; i < 200; ++i) {
      spool->End(spool->Begin(RowOf(std::to_string(i))), RowOf(std::to_string(i), 1));
    }
    REQUIRE(spool->Flush(30s));
    CHECK(table->rows().size() == 200);
    CHECK(FilesIn(options.folder) <= 2);
  }
  // The process ended without ending that request.
  options.price = [](UsageRow& row) { row.cost_micros = 9; };
  auto spool = Spool::Open(options, table).value();
  CHECK(spool->stats().recovered == 1);
  REQUIRE(spool->Flush(30s));
  const UsageRow lost = table->rows().at("runs");
  CHECK(lost.outcome == "lost");
  CHECK(lost.prompt_tokens == 3);
  CHECK(lost.cached_prompt_tokens == 1);
  CHECK(lost.completion_tokens == 5);
  CHECK(lost.cost_micros == 9);
  CHECK(lost.created_at_us == 1'790'000'000'000'000);
}

TEST_CASE("Two processes do not share a folder", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  auto spool = Spool::Open(OptionsIn(dir), table).value();
  CHECK(Spool::Open(OptionsIn(dir), table).status().code() ==
        absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("A torn or foreign line costs itself alone", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  const SpoolOptions options = OptionsIn(dir);
  std::filesystem::create_directories(options.folder);
  std::ofstream(options.folder + "/000000000003.jsonl")
      << "E " << ToJson(RowOf("good", 1)) << "\nB 1 2\nB x\nE {\nE []\n\nrubbish\nB 0 5 "
      << ToJson(RowOf("open")) << "\nE " << ToJson(RowOf("better", 1)) << "\nE {\"id\":\"to";
  std::atomic<int> damaged{0};
  auto spool = Spool::Open(options, table, {.damaged = [&](const absl::Status&) { ++damaged; }});
  REQUIRE(spool.ok());
  REQUIRE((*spool)->Flush(30s));
  const auto rows = table->rows();
  CHECK(rows.size() == 3);
  CHECK(rows.contains("good"));
  CHECK(rows.contains("better"));
  CHECK(rows.at("open").outcome == "lost");  // its slot belongs to nobody: no tokens
  CHECK(rows.at("open").completion_tokens == 0);
  CHECK(damaged == 6);
}

TEST_CASE("More requests than slots are still counted when they end", "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  SpoolOptions options = OptionsIn(dir);
  options.slots = 2;
  auto spool = Spool::Open(options, table).value();
  std::vector<Spool::Ticket> tickets;
  for (int i = 0; i < 5; ++i) tickets.push_back(spool->Begin(RowOf(std::to_string(i))));
  for (const auto ticket : tickets) spool->Progress(ticket, 1, 1, 1);
  for (int i = 0; i < 5; ++i) spool->End(tickets[i], RowOf(std::to_string(i), 4));
  spool->End(tickets[0], RowOf("again", 4));  // a ticket ends once
  REQUIRE(spool->Flush(30s));
  CHECK(table->rows().size() == 5);
}

// A child process that begins and ends requests until it is killed. What it says over the pipe it
// has ended, or made, before it said so.
struct Child {
  explicit Child(const SpoolOptions& options) {
    REQUIRE(pipe(fds) == 0);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid != 0) {
      close(fds[1]);
      return;
    }
    // Its store never answers, so that everything stays in the journal.
    auto away = std::make_shared<Table>();
    away->SetAway(true);
    auto spool = Spool::Open(options, away).value();
    const auto runs = spool->Begin(RowOf("stream"));
    for (uint64_t i = 1;; ++i) {
      const std::string id = std::to_string(getpid()) + "-" + std::to_string(i);
      const auto ticket = spool->Begin(RowOf(id));
      spool->Progress(runs, 10, 0, i);
      if (!spool->Note("note " + id).ok()) _exit(2);
      spool->End(ticket, RowOf(id, i));
      if (write(fds[1], &i, sizeof(i)) != sizeof(i)) _exit(1);
    }
  }
  uint64_t KillAfter(uint64_t count) {
    uint64_t said = 0, value = 0;
    while (said < count && read(fds[0], &value, sizeof(value)) == sizeof(value)) said = value;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    while (read(fds[0], &value, sizeof(value)) == sizeof(value)) said = value;
    close(fds[0]);
    return said;
  }
  int fds[2] = {};
  pid_t pid = -1;
};

TEST_CASE("A killed process loses no row that it ended, no note and no token that it made",
          "[usage]") {
  test::TempDir dir;
  auto table = std::make_shared<Table>();
  SpoolOptions options = OptionsIn(dir);
  options.file_bytes = 3'000;
  size_t expected = 1;
  for (int round = 0; round < 3; ++round) {
    Child child(options);
    const uint64_t said = child.KillAfter(40);
    REQUIRE(said >= 40);
    auto spool = Spool::Open(options, table).value();
    REQUIRE(spool->Flush(30s));
    const auto rows = table->rows();
    for (uint64_t i = 1; i <= said; ++i) {
      const std::string id = std::to_string(child.pid) + "-" + std::to_string(i);
      REQUIRE(rows.contains(id));
      REQUIRE(rows.at(id).completion_tokens == i);
    }
    const auto notes = table->notes();
    const std::set<std::string> once(notes.begin(), notes.end());
    CHECK(once.size() == notes.size());
    for (uint64_t i = 1; i <= said; ++i) {
      REQUIRE(once.contains("note " + std::to_string(child.pid) + "-" + std::to_string(i)));
    }
    // One more may have ended, or only begun, without having been said.
    expected += said;
    CHECK(rows.size() >= expected);
    CHECK(rows.size() <= expected + 1);
    expected = rows.size();
    if (round == 0) {
      CHECK(rows.at("stream").outcome == "lost");
      CHECK(rows.at("stream").completion_tokens >= said);
      CHECK(rows.at("stream").completion_tokens <= said + 1);
    }
  }
}

}  // namespace
}  // namespace weft::usage
