#include "libs/spans/segment_log.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/spans/span_record.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft::spans {
namespace {

namespace fs = std::filesystem;

struct Log {
  test::TempDir dir;
  SegmentLogOptions options;
  std::unique_ptr<SegmentLog> log;

  explicit Log(uint64_t segment_bytes = 1 << 20, uint64_t max_bytes = 4 << 20) {
    options.directory = dir.File("queue");
    options.segment_bytes = segment_bytes;
    options.max_bytes = max_bytes;
    Open();
  }
  void Open() {
    log.reset();
    auto opened = SegmentLog::Open(options);
    INFO(ToString(opened.status()));
    REQUIRE(opened.ok());
    log = *std::move(opened);
  }
  // As kill -9 leaves the folder: nothing is done at the end.
  void Crash() {
    const std::string copy = dir.File("copy");
    fs::copy(options.directory, copy, fs::copy_options::recursive);
    log.reset();
    fs::remove_all(options.directory);
    fs::rename(copy, options.directory);
  }
  void Append(const std::string& payload) { REQUIRE(log->Append(payload).ok()); }
  std::vector<SegmentLog::Record> ReadAll() {
    std::vector<SegmentLog::Record> all;
    while (auto record = log->ReadNext()) all.push_back(*std::move(record));
    return all;
  }
  std::vector<std::string> Payloads() {
    std::vector<std::string> all;
    for (const auto& record : ReadAll()) all.push_back(record.payload);
    return all;
  }
  std::vector<std::string> Segments() const {
    std::vector<std::string> paths;
    for (const auto& entry : fs::directory_iterator(options.directory)) {
      if (entry.path().extension() == ".spans") paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
};

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

using Texts = std::vector<std::string>;

TEST_CASE("SegmentLog gives records in their order, and after a crash those that are not done",
          "[spans]") {
  Log f;
  for (const char* text : {"a", "", "c", "d"}) f.Append(text);
  auto records = f.ReadAll();
  REQUIRE(records.size() == 4);
  CHECK(records[1].payload.empty());
  CHECK_FALSE(f.log->ReadNext());
  f.log->Done(records[0].sequence);
  f.log->Done(records[1].sequence);
  f.log->Done(records[3].sequence);  // after one that is still on its way
  CHECK(f.log->stats().records == 1);
  f.log->Maintain();
  f.Append("e");
  f.Crash();
  f.Open();
  CHECK(f.log->stats().records == 3);
  CHECK(f.Payloads() == Texts{"c", "d", "e"});  // d twice: at least once
  f.Append("f");
  CHECK(f.Payloads() == Texts{"f"});
}

TEST_CASE("SegmentLog whose records are all done leaves no segment behind", "[spans]") {
  Log f(100);
  for (int i = 0; i < 20; ++i) f.Append(std::string(30, 'x'));
  CHECK(f.Segments().size() > 5);
  const auto records = f.ReadAll();
  for (size_t i = 1; i < records.size(); ++i) f.log->Done(records[i].sequence);
  CHECK(f.Segments().size() > 5);  // the first holds all others: order is what makes a cursor
  f.log->Done(records[0].sequence);
  CHECK(f.Segments().size() == 1);  // the one that is written to
  f.log->Close();
  CHECK(f.Segments().empty());
  CHECK(f.log->Append("x").code() == absl::StatusCode::kUnavailable);
  f.Open();
  CHECK(f.log->stats().records == 0);
  f.Append("y");
  CHECK(f.Payloads() == Texts{"y"});
}

TEST_CASE("SegmentLog refuses beyond its bound and goes on when there is room", "[spans]") {
  Log f(1000, 4000);
  int taken = 0;
  absl::Status status;
  while ((status = f.log->Append(std::string(300, 'x'))).ok()) ++taken;
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(RetryAfterOf(status).has_value());
  CHECK(taken == 12);
  CHECK(f.log->stats().bytes <= 4000);
  for (const auto& record : f.ReadAll()) f.log->Done(record.sequence);
  // Also the segment that was written to gives its room back.
  for (int i = 0; i < 12; ++i) f.Append(std::string(300, 'y'));
  CHECK(f.Payloads().size() == 12);
}

TEST_CASE("SegmentLog cut at any byte loses nothing but the torn record", "[spans]") {
  Log whole;
  for (const char* text : {"first", "second", "third"}) whole.Append(text);
  const std::string bytes = ReadFile(whole.Segments().at(0));
  const size_t third = bytes.size() - kRecordHeaderBytes - 5;
  for (size_t cut = third; cut < bytes.size(); ++cut) {
    CAPTURE(cut);
    Log f;
    f.log.reset();
    WriteFile(f.options.directory + "/0000000000000001.spans", bytes.substr(0, cut));
    f.Open();
    CHECK(f.log->stats().damaged_bytes == cut - third);
    f.Append("next");
    REQUIRE(f.Payloads() == Texts{"first", "second", "next"});
  }
}

TEST_CASE("SegmentLog passes over damage anywhere and finds the next whole record", "[spans]") {
  Log whole;
  for (const char* text : {"first", "second", "third"}) whole.Append(text);
  const std::string bytes = ReadFile(whole.Segments().at(0));
  const size_t first = kRecordHeaderBytes + 5;
  const size_t second = first + kRecordHeaderBytes + 6;
  for (size_t at = 0; at < bytes.size(); ++at) {
    CAPTURE(at);
    Log f;
    f.log.reset();
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    WriteFile(f.options.directory + "/0000000000000001.spans", damaged);
    f.Open();
    Texts expected{"first", "second", "third"};
    expected.erase(expected.begin() + (at < first ? 0 : at < second ? 1 : 2));
    REQUIRE(f.Payloads() == expected);
    CHECK(f.log->stats().damaged_bytes > 0);
    CHECK(f.log->stats().records == 2);
    f.Append("next");
    CHECK(f.Payloads() == Texts{"next"});
  }
}

TEST_CASE("SegmentLog outlives files of rubbish, a lost cursor and a cursor of rubbish",
          "[spans]") {
  Log f(100);
  for (int i = 0; i < 6; ++i) f.Append("record " + std::to_string(i) + std::string(40, '.'));
  f.log->Done(f.log->ReadNext()->sequence);
  f.log->Maintain();
  f.Crash();
  WriteFile(f.Segments().at(2), std::string(5000, 'W') + "WSR1WSR1WSR1");
  WriteFile(f.options.directory + "/cursor", "WSR1 is no cursor");
  f.Open();
  const Texts texts = f.Payloads();
  REQUIRE(texts.size() == 4);  // the one that was done was in a segment of its own
  CHECK(texts[0].substr(0, 8) == "record 1");
  CHECK(texts[1].substr(0, 8) == "record 2");
  CHECK(texts[2].substr(0, 8) == "record 4");
}

TEST_CASE("A record inside a record's text can hide no others", "[spans]") {
  Log f;
  f.Append("a" + FrameRecord(~uint64_t{0}, "forged") + "z");
  f.Append("b");
  f.Crash();
  const std::string path = f.Segments().at(0);
  std::string bytes = ReadFile(path);
  bytes[kRecordHeaderBytes] = 'A';  // damages the outer record, so that the inner one is found
  WriteFile(path, bytes);
  f.Open();
  CHECK(f.Payloads() == Texts{"b"});
  f.Append("c");
  CHECK(f.Payloads() == Texts{"c"});
}

TEST_CASE("SegmentLog names the folder that it cannot have", "[spans]") {
  Log f;
  const auto second = SegmentLog::Open(f.options);
  REQUIRE(second.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Message(second.status()).find(f.options.directory) != std::string_view::npos);
  SegmentLogOptions options = f.options;
  options.directory = f.dir.File("file") + "/below";
  WriteFile(f.dir.File("file"), "");
  const auto none = SegmentLog::Open(options);
  REQUIRE(none.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Message(none.status()).find(options.directory) != std::string_view::npos);
}

TEST_CASE("SegmentLog on a full disk refuses, keeps what it has, and goes on later", "[spans]") {
  Log f;
  f.options.fsync = FsyncPolicy::kAlways;
  f.Open();
  f.Append("before");
  // A limit on the size of files is a disk that is full after so many bytes.
  signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  rlimit small = old;
  small.rlim_cur = 100;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const absl::Status full = f.log->Append(std::string(1000, 'x'));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
  CHECK(full.code() == absl::StatusCode::kResourceExhausted);
  CHECK(RetryAfterOf(full).has_value());
  CHECK(f.log->stats().write_errors == 1);
  f.Append("after");
  f.Crash();
  f.Open();
  CHECK(f.log->stats().damaged_bytes == 0);
  CHECK(f.Payloads() == Texts{"before", "after"});
}

TEST_CASE("Every record that a killed process acknowledged is there", "[spans]") {
  for (const FsyncPolicy policy : {FsyncPolicy::kNever, FsyncPolicy::kAlways}) {
    Log f(2000, 64 << 20);
    f.options.fsync = policy;
    f.log.reset();
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    const pid_t child = fork();
    if (child == 0) {
      auto log = SegmentLog::Open(f.options);
      for (char i = 0; log.ok(); ++i) {
        if (!(*log)->Append(std::string(200, i)).ok()) break;
        if (write(pipes[1], &i, 1) != 1) break;
      }
      _exit(1);
    }
    close(pipes[1]);
    size_t acknowledged = 0;
    char byte = 0;
    while (acknowledged < 100 && read(pipes[0], &byte, 1) == 1) ++acknowledged;
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(pipes[0], &byte, 1) == 1) ++acknowledged;
    close(pipes[0]);
    f.Open();
    const Texts texts = f.Payloads();
    REQUIRE(acknowledged >= 100);
    REQUIRE(texts.size() >= acknowledged);
    for (size_t i = 0; i < texts.size(); ++i) {
      REQUIRE(texts[i] == std::string(200, static_cast<char>(i)));
    }
  }
}

}  // namespace
}  // namespace weft::spans
