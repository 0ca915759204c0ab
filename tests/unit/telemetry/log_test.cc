#include "libs/telemetry/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "libs/telemetry/json_text.h"
#include "libs/telemetry/log_sink.h"
#include "tests/support/catch.h"

namespace weft::telemetry {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::ordered_json;

// Sends the log of one test to a file, and gives its lines back.
class Captured {
 public:
  Captured() : path_(fmt::format("/tmp/weft-log-{}.jsonl", getpid())) {
    unlink(path_.c_str());
    sink_ = *LogSink::Open({.file = path_});
    SetLogSink(sink_);
  }
  ~Captured() {
    SetLogSink(nullptr);
    SetLogLevel(Level::kInfo);
    unlink(path_.c_str());
  }
  std::vector<Json> Lines() {
    REQUIRE(sink_->Flush(10s));
    std::ifstream in(path_);
    std::vector<Json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
  }

 private:
  std::string path_;
  std::shared_ptr<LogSink> sink_;
};

const Logger kLog("test");

TEST_CASE("Logger writes the listed fields in their order", "[telemetry]") {
  Captured log;
  SpanContext context;
  context.trace_id.fill(0xab);
  context.span_id.fill(0xcd);
  kLog.Info("request finished", {{"extra", 3},
                                 {"generation_time_ms", 12.5},
                                 {"tenant", "acme"},
                                 {"user_id", std::string("u1")},
                                 {"request_id", "r1"},
                                 {"exception", NotFound("model: '{}'", "x")},
                                 context});
  const auto lines = log.Lines();
  REQUIRE(lines.size() == 1);
  std::vector<std::string> keys;
  for (const auto& [key, value] : lines[0].items()) keys.push_back(key);
  REQUIRE(keys == std::vector<std::string>{"timestamp", "level", "message", "logger", "module",
                                           "function", "line", "request_id", "user_id", "tenant",
                                           "generation_time_ms", "exception", "trace_id", "span_id",
                                           "extra"});
  REQUIRE(lines[0]["level"] == "INFO");
  REQUIRE(lines[0]["module"] == "tests/unit/telemetry/log_test");
  REQUIRE(lines[0]["line"].get<int>() > 50);
  REQUIRE(lines[0]["generation_time_ms"] == 12.5);
  REQUIRE(lines[0]["exception"] == "NOT_FOUND: model: 'x'");
  REQUIRE(lines[0]["trace_id"] == "abababababababababababababababab");
  REQUIRE(lines[0]["extra"] == 3);
}

TEST_CASE("Logger keeps a line a line whatever the text holds", "[telemetry]") {
  Captured log;
  const std::string hostile =
      "a\nb\r\x1b[31m\"}\n{\"level\":\"FAKE\"} \xff\xc3 \xed\xa0\x80 \x7f é";
  kLog.Warning(hostile, {{hostile, hostile}, {"message", "mine"}, {"x", 1}, {"x", 2}});
  const auto lines = log.Lines();
  REQUIRE(lines.size() == 1);
  const std::string message = lines[0]["message"];
  REQUIRE(message.substr(0, 5) == "a\nb\r\x1b");
  REQUIRE(message.find("\xEF\xBF\xBD") != std::string::npos);
  REQUIRE(message.find("é") != std::string::npos);
  REQUIRE(lines[0]["message_"] == "mine");
  REQUIRE(lines[0]["x"] == 1);
}

TEST_CASE("Logger bounds the size of a line", "[telemetry]") {
  Captured log;
  kLog.Info(std::string(10'000'000, 'x'), {{"k", std::string(1'000'000, 'y')}});
  const auto lines = log.Lines();
  REQUIRE(lines[0].dump().size() < 100'000);
}

TEST_CASE("Logger writes numbers that JSON has", "[telemetry]") {
  Captured log;
  kLog.Info("n", {{"nan", std::nan("")},
                  {"big", ~uint64_t{0}},
                  {"small", int64_t{-5}},
                  {"yes", true},
                  {"wait", std::chrono::milliseconds(1500)}});
  const auto line = log.Lines()[0];
  REQUIRE(line["nan"].is_null());
  REQUIRE(line["big"] == ~uint64_t{0});
  REQUIRE(line["small"] == -5);
  REQUIRE(line["yes"] == true);
  REQUIRE(line["wait"] == 1500.0);
}

TEST_CASE("Logger leaves out lines below the level", "[telemetry]") {
  Captured log;
  kLog.Debug("hidden");
  SetLogLevel(Level::kError);
  kLog.Warning("hidden");
  kLog.Error("shown");
  REQUIRE(log.Lines().size() == 1);
}

TEST_CASE("LogSink counts the lines of a full disk and goes on", "[telemetry]") {
  const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  {
    auto sink = LogSink::ForDescriptor(fd, {});
    for (int i = 0; i < 10; ++i) sink->Write("{}\n");
    REQUIRE(sink->Flush(10s));
    REQUIRE(sink->dropped() == 10);
    REQUIRE(sink->written() == 0);
  }
  close(fd);
}

TEST_CASE("LogSink survives a closed descriptor and a closed pipe", "[telemetry]") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  {
    auto sink = LogSink::ForDescriptor(ends[1], {});
    sink->Write("{}\n");
    REQUIRE(sink->Flush(10s));
    REQUIRE(sink->dropped() == 1);
  }
  close(ends[1]);
  auto sink = LogSink::ForDescriptor(ends[1], {});
  sink->Write("{}\n");
  REQUIRE(sink->Flush(10s));
  REQUIRE(sink->dropped() == 1);
}

TEST_CASE("LogSink never blocks on a reader that does not read", "[telemetry]") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const auto begin = std::chrono::steady_clock::now();
  {
    auto sink = LogSink::ForDescriptor(ends[1], {.max_queued_bytes = 100'000});
    const std::string line = std::string(999, 'x') + "\n";
    for (int i = 0; i < 1000; ++i) sink->Write(line);
    REQUIRE(std::chrono::steady_clock::now() - begin < 1s);
    REQUIRE(sink->dropped() > 700);
    REQUIRE_FALSE(sink->Flush(10ms));
  }
  REQUIRE(std::chrono::steady_clock::now() - begin < 8s);
  close(ends[0]);
  close(ends[1]);
}

TEST_CASE("LogSink says which file it cannot open", "[telemetry]") {
  const auto sink = LogSink::Open({.file = "/nowhere/at/all.log"});
  REQUIRE(Message(sink.status()).find("/nowhere/at/all.log") != std::string_view::npos);
}

TEST_CASE("AppendJsonString replaces each maximal invalid part once", "[telemetry]") {
  const auto [bytes, expected] = GENERATE(table<std::string, std::string>({
      {"\xF1\x80\x80\xE1\x80\xC2"
       "b",
       "\"���b\""},  // the example of Unicode table 3-8, shortened
      {"\xC0\xAF", "\"��\""},
      {"\xED\xA0\x80", "\"���\""},
      {"\xF4\x90\x80\x80", "\"����\""},
      {"\xE2\x82\xAC\xF0\x9F\x98\x80", "\"€😀\""},
      {std::string("\0", 1), "\"\\u0000\""},
  }));
  std::string out;
  AppendJsonString(out, bytes);
  REQUIRE(out == expected);
}

TEST_CASE("AppendJsonString always makes JSON that parses", "[telemetry]") {
  uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int i = 0; i < 24; ++i) {
      state = state * 1664525 + 1013904223;
      bytes += static_cast<char>(state >> 24);
    }
    std::string out;
    AppendJsonString(out, bytes, 16);
    REQUIRE(Json::accept(out));
    REQUIRE(ValidUtf8(bytes, 16).size() <= 16);
  }
}

}  // namespace
}  // namespace weft::telemetry
