#include <condition_variable>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/spans/batcher.h"
#include "libs/spans/export_queue.h"
#include "libs/spans/file_writer.h"
#include "libs/spans/intake.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/spans/stage_fixture.h"

namespace weft::spans {
namespace {

using namespace std::chrono_literals;

TEST_CASE("MemoryLimiter gives bytes back when a lease ends, however it moved", "[spans]") {
  MemoryLimiter memory(100);
  auto lease = memory.TryAcquire(60);
  REQUIRE(lease);
  REQUIRE_FALSE(memory.TryAcquire(41));
  REQUIRE_FALSE(memory.TryAcquire(~size_t{0}));
  MemoryLease moved = *std::move(lease);
  lease.reset();
  REQUIRE(memory.used() == 60);
  moved = memory.Acquire(70);  // inside, the limit does not bind
  REQUIRE(memory.used() == 70);
  moved = MemoryLease();
  REQUIRE(memory.used() == 0);
}

TEST_CASE("Intake refuses what does not fit, and takes nothing of it", "[spans]") {
  MemoryLimiter small(10'000);  // outlives what the fixture's stage keeps of it
  Fixture f;
  Intake intake(f.next, small, {}, f.metrics);
  const auto refused = intake.Take(MakeSpans(100, 1000), "grpc");
  REQUIRE(refused.status.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(RetryAfterOf(refused.status).has_value());
  REQUIRE(small.used() == 0);
  REQUIRE(intake.Take(MakeSpans(2), "grpc").status.ok());
  REQUIRE(f.Shows("weft_collector_spans_refused_total{transport=\"grpc\"} 100"));
  REQUIRE(f.Shows("weft_collector_spans_received_total{transport=\"grpc\"} 2"));
}

TEST_CASE("Intake passes the next stage's refusal on with a time to wait", "[spans]") {
  Fixture f;
  f.next.SetFull(true);
  Intake intake(f.next, f.memory, {}, f.metrics);
  const auto answer = intake.Take(MakeSpans(3), "http");
  REQUIRE(answer.status.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(RetryAfterOf(answer.status) == 10ms);
  REQUIRE(f.memory.used() == 0);
}

TEST_CASE("Intake rejects spans that are none and says why", "[spans]") {
  Fixture f;
  Intake intake(f.next, f.memory, {}, f.metrics);
  Spans spans = MakeSpans(3);
  spans[0].scopes[0].spans[1].span_id = "short";
  const auto answer = intake.Take(std::move(spans), "http");
  REQUIRE(answer.status.ok());
  REQUIRE(answer.rejected == 1);
  REQUIRE(answer.reason == "span_id: must have 8 bytes, not all zero");
  REQUIRE(Names(f.next.Take()[0].spans) == std::vector<std::string>{"0", "2"});
  // A request of bad spans only leaves nothing to pass on.
  Spans bad = MakeSpans(1);
  bad[0].scopes[0].spans[0].trace_id.clear();
  REQUIRE(intake.Take(std::move(bad), "http").rejected == 1);
  REQUIRE(f.next.batches() == 0);
}

TEST_CASE("Batcher joins small requests after the wait", "[spans]") {
  Fixture f;
  Batcher batcher(f.next, f.memory, {.max_wait = 20ms}, f.metrics);
  batcher.Start();
  batcher.Start();
  for (int i = 0; i < 5; ++i) {
    Batch batch{MakeSpans(2), f.memory.Acquire(10)};
    REQUIRE(batcher.Consume(batch).ok());
  }
  f.next.WaitSpans(10);
  const auto batches = f.next.Take();
  REQUIRE(batches.size() == 1);
  REQUIRE(batches[0].lease.bytes() >= ApproximateBytes(batches[0].spans) - 1000);
}

TEST_CASE("Batcher splits a large request and repeats its resource and scope", "[spans]") {
  Fixture f;
  Batcher batcher(f.next, f.memory, {.max_spans = 10, .max_wait = 1ms}, f.metrics);
  batcher.Start();
  Batch batch{MakeSpans(25), {}};
  REQUIRE(batcher.Consume(batch).ok());
  f.next.WaitSpans(25);
  const auto batches = f.next.Take();
  std::vector<std::string> names;
  for (const Batch& part : batches) {
    REQUIRE(CountSpans(part.spans) <= 10);
    for (const ResourceSpans& resource : part.spans) {
      REQUIRE(std::get<std::string>(resource.resource.at(0).value.value) == "test");
      REQUIRE(resource.scopes.at(0).scope_name == "scope");
    }
    for (const auto& name : Names(part.spans)) names.push_back(name);
  }
  REQUIRE(names.size() == 25);
  for (size_t i = 0; i < names.size(); ++i) REQUIRE(names[i] == std::to_string(i));
}

TEST_CASE("Batcher bounds a batch by bytes, and lets one giant span pass alone", "[spans]") {
  Fixture f;
  Batcher batcher(f.next, f.memory, {.max_bytes = 5000, .max_wait = 1ms}, f.metrics);
  batcher.Start();
  Batch batch{MakeSpans(20, 1000), {}};
  REQUIRE(batcher.Consume(batch).ok());
  Batch giant{MakeSpans(1, 50'000), {}};
  REQUIRE(batcher.Consume(giant).ok());
  f.next.WaitSpans(21);
  for (const Batch& part : f.next.Take()) {
    const size_t bytes = ApproximateBytes(part.spans);
    REQUIRE((bytes <= 5500 || CountSpans(part.spans) == 1));
  }
}

TEST_CASE("Batcher holds batches, and their memory, while the next stage is full", "[spans]") {
  Fixture f;
  f.next.SetFull(true);
  Batcher batcher(f.next, f.memory, {.max_spans = 5, .max_wait = 1ms}, f.metrics);
  batcher.Start();
  Batch batch{MakeSpans(20), {}};
  REQUIRE(batcher.Consume(batch).ok());
  std::this_thread::sleep_for(60ms);
  REQUIRE(f.memory.used() > 0);
  f.next.SetFull(false);
  REQUIRE(f.next.WaitSpans(20) == 20);
  f.next.Take();
  batcher.Shutdown(1s);
  REQUIRE(f.memory.used() == 0);
}

TEST_CASE("Batcher flushes at shutdown, counts what is left, and refuses from then on", "[spans]") {
  Fixture f;
  {
    Batcher batcher(f.next, f.memory, {.max_wait = 1h}, f.metrics);
    batcher.Start();
    Batch batch{MakeSpans(3), {}};
    REQUIRE(batcher.Consume(batch).ok());
    batcher.Shutdown(5s);
    batcher.Shutdown(5s);
    REQUIRE(f.next.WaitSpans(3) == 3);
    Batch late{MakeSpans(1), {}};
    REQUIRE(batcher.Consume(late).code() == absl::StatusCode::kUnavailable);
    REQUIRE(CountSpans(late.spans) == 1);
  }
  f.next.SetFull(true);
  Batcher stuck(f.next, f.memory, {.max_wait = 1ms}, f.metrics);
  stuck.Start();
  Batch batch{MakeSpans(4), {}};
  REQUIRE(stuck.Consume(batch).ok());
  stuck.Shutdown(30ms);
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"batcher\"} 4"));
  Batcher never(f.next, f.memory, {}, f.metrics);
  never.Shutdown(1s);
  never.Start();
}

TEST_CASE("ExportQueue sends again until the destination takes the batch", "[spans]") {
  Fixture f;
  Script script;
  script.answers = {Unavailable("away"), DeadlineExceeded("slow"),
                    WithRetryAfter(ResourceExhausted("busy"), 5ms)};
  ExportQueue queue(std::make_unique<FakeSender>(script), Fast(), f.metrics);
  queue.Start();
  Batch batch{MakeSpans(3), f.memory.Acquire(100)};
  REQUIRE(queue.Consume(batch).ok());
  script.WaitCalls(4);
  queue.Shutdown(1s);
  REQUIRE(f.Shows("weft_collector_spans_exported_total{exporter=\"otlp\"} 3"));
  REQUIRE(f.Shows("weft_collector_export_retries_total{exporter=\"otlp\"} 3"));
  REQUIRE(f.memory.used() == 0);
}

TEST_CASE("ExportQueue gives up on errors that OTLP calls permanent", "[spans]") {
  Fixture f;
  Script script;
  script.answers = {InvalidArgument("bad"), ResourceExhausted("message too large")};
  ExportQueue queue(std::make_unique<FakeSender>(script), Fast(), f.metrics);
  queue.Start();
  for (int i = 0; i < 2; ++i) {
    Batch batch{MakeSpans(3), {}};
    REQUIRE(queue.Consume(batch).ok());
  }
  queue.Shutdown(1s);
  REQUIRE(script.sent.size() == 2);
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"otlp\"} 6"));
}

TEST_CASE("ExportQueue counts the spans that the destination rejected", "[spans]") {
  Fixture f;
  Script script;
  script.rejected = 2;
  ExportQueue queue(std::make_unique<FakeSender>(script), Fast(), f.metrics);
  queue.Start();
  Batch batch{MakeSpans(5), {}};
  REQUIRE(queue.Consume(batch).ok());
  queue.Shutdown(1s);
  REQUIRE(f.Shows("weft_collector_spans_exported_total{exporter=\"otlp\"} 3"));
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"otlp\"} 2"));
}

TEST_CASE("ExportQueue drops a batch after give_up", "[spans]") {
  Fixture f;
  Script script;
  script.answers = std::vector<absl::Status>(1000, Unavailable("away"));
  ExportOptions options = Fast();
  options.give_up = 30ms;
  ExportQueue queue(std::make_unique<FakeSender>(script), options, f.metrics);
  queue.Start();
  Batch batch{MakeSpans(1), {}};
  REQUIRE(queue.Consume(batch).ok());
  std::this_thread::sleep_for(100ms);
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"otlp\"} 1"));
}

TEST_CASE("ExportQueue refuses beyond its bound and leaves the batch to the caller", "[spans]") {
  Fixture f;
  Script script;
  script.hang = true;
  ExportOptions options = Fast();
  options.queue_batches = 2;
  ExportQueue queue(std::make_unique<FakeSender>(script), options, f.metrics);
  queue.Start();
  Batch first{MakeSpans(1), {}};
  REQUIRE(queue.Consume(first).ok());
  script.WaitCalls(1);
  Batch more{MakeSpans(1), {}};
  REQUIRE(queue.Consume(more).ok());
  more = {MakeSpans(1), {}};
  REQUIRE(queue.Consume(more).ok());
  more = {MakeSpans(7), {}};
  const absl::Status full = queue.Consume(more);
  REQUIRE(full.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(CountSpans(more.spans) == 7);
  {
    std::lock_guard lock(script.mutex);
    script.hang = false;
  }
  script.changed.notify_all();
  queue.Shutdown(5s);
  REQUIRE(script.sent.size() == 3);
}

TEST_CASE("ExportQueue ends in time when the destination hangs, and counts the loss", "[spans]") {
  Fixture f;
  Script script;
  script.hang = true;
  ExportQueue queue(std::make_unique<FakeSender>(script), Fast(), f.metrics);
  queue.Start();
  for (int i = 0; i < 3; ++i) {
    Batch batch{MakeSpans(2), {}};
    REQUIRE(queue.Consume(batch).ok());
  }
  script.WaitCalls(1);
  const auto begin = std::chrono::steady_clock::now();
  queue.Shutdown(100ms);
  REQUIRE(std::chrono::steady_clock::now() - begin < 5s);
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"otlp\"} 6"));
}

TEST_CASE("ExportQueue may be shut down before it started, and twice", "[spans]") {
  Fixture f;
  Script script;
  ExportQueue queue(std::make_unique<FakeSender>(script), Fast(), f.metrics);
  Batch batch{MakeSpans(2), {}};
  REQUIRE(queue.Consume(batch).ok());
  queue.Shutdown(1s);
  queue.Shutdown(1s);
  queue.Start();
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"otlp\"} 2"));
}

TEST_CASE("FileWriter appends one line of OTLP JSON a batch", "[spans]") {
  Fixture f;
  const test::TempDir dir;
  const std::string path = dir.File("spans.jsonl");
  auto writer = *FileWriter::Open(path, &f.next, f.metrics);
  for (int i = 0; i < 2; ++i) {
    Batch batch{MakeSpans(2), {}};
    REQUIRE(writer->Consume(batch).ok());
  }
  std::ifstream in(path);
  int lines = 0;
  for (std::string line; std::getline(in, line); ++lines) {
    REQUIRE(nlohmann::json::parse(line)["resourceSpans"].size() == 1);
  }
  REQUIRE(lines == 2);
  REQUIRE(f.next.batches() == 2);
  f.next.SetFull(true);
  Batch refused{MakeSpans(2), {}};
  REQUIRE_FALSE(writer->Consume(refused).ok());
  REQUIRE(CountSpans(refused.spans) == 2);
  REQUIRE(f.Shows("weft_collector_spans_exported_total{exporter=\"file\"} 4"));
}

TEST_CASE("FileWriter counts what a full disk does not take, and the spans go on", "[spans]") {
  Fixture f;
  auto writer = *FileWriter::Open("/dev/full", &f.next, f.metrics);
  Batch batch{MakeSpans(2), {}};
  REQUIRE(writer->Consume(batch).ok());
  REQUIRE(f.next.batches() == 1);
  REQUIRE(f.Shows("weft_collector_spans_failed_total{exporter=\"file\"} 2"));
  const auto bad = FileWriter::Open("/nowhere/x", nullptr, f.metrics);
  REQUIRE(Message(bad.status()).find("/nowhere/x") != std::string_view::npos);
}

TEST_CASE("The chain loses nothing under load from many threads", "[spans]") {
  Fixture f;
  Script script;
  ExportOptions options = Fast();
  options.senders = 2;
  options.queue_batches = 2;
  ExportQueue queue(std::make_unique<FakeSender>(script), options, f.metrics);
  Batcher batcher(queue, f.memory, {.max_spans = 16, .max_wait = 1ms}, f.metrics);
  Intake intake(batcher, f.memory, {}, f.metrics);
  queue.Start();
  batcher.Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        while (!intake.Take(MakeSpans(5), "grpc").status.ok()) std::this_thread::sleep_for(1ms);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  batcher.Shutdown(10s);
  queue.Shutdown(10s);
  size_t total = 0;
  for (const size_t count : script.sent) total += count;
  REQUIRE(total == 2000);
  REQUIRE(f.memory.used() == 0);
}

}  // namespace
}  // namespace weft::spans
