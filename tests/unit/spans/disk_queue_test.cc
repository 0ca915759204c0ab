#include "libs/spans/disk_queue.h"

#include <string>
#include <vector>

#include "libs/spans/batcher.h"
#include "libs/spans/otlp_json.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/spans/stage_fixture.h"

namespace weft::spans {
namespace {

const SpanCodec kJson{ToOtlpJson, [](std::string_view text) { return ParseOtlpJson(text); }};

struct QueueFixture : Fixture {
  test::TempDir dir;
  SegmentLogOptions options{.directory = dir.File("queue")};

  std::unique_ptr<DiskQueue> Open(Stage& next, size_t window_bytes = 1 << 20,
                                  SpanCodec codec = kJson) {
    auto log = SegmentLog::Open(options);
    REQUIRE(log.ok());
    auto queue = std::make_unique<DiskQueue>(next, *std::move(log), std::move(codec), memory,
                                             window_bytes, metrics);
    queue->Start();
    return queue;
  }
  void Take(DiskQueue& queue, size_t count, size_t padding = 0) {
    Batch batch{MakeSpans(count, padding), memory.Acquire(1), {}};
    REQUIRE(queue.Consume(batch).ok());
    REQUIRE(batch.spans.empty());
  }
  template <typename Condition>
  void Wait(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      REQUIRE(std::chrono::steady_clock::now() < end);
      std::this_thread::sleep_for(1ms);
    }
  }
};

TEST_CASE("DiskQueue hands on what it wrote and forgets it once delivered", "[spans]") {
  QueueFixture f;
  auto queue = f.Open(f.next);
  f.Take(*queue, 2);
  f.Take(*queue, 3);
  f.next.WaitSpans(5);
  CHECK(queue->stats().records == 2);  // the next stage still holds them
  f.next.Take();
  CHECK(queue->stats().records == 0);
  CHECK(f.memory.used() == 0);
}

TEST_CASE("DiskQueue hands on after a restart what was not delivered before", "[spans]") {
  QueueFixture f;
  auto queue = f.Open(f.next);
  for (size_t i = 1; i <= 3; ++i) f.Take(*queue, i);
  f.next.WaitSpans(6);
  auto batches = f.next.Take();
  REQUIRE(batches.size() == 3);
  batches.erase(batches.begin());  // delivered
  for (const Batch& batch : batches) CHECK(batch.Keep());
  batches.clear();
  queue.reset();
  queue = f.Open(f.next);
  f.next.WaitSpans(5);
  batches = f.next.Take();
  REQUIRE(batches.size() == 2);
  CHECK(CountSpans(batches[0].spans) == 2);
  CHECK(batches[0].spans == MakeSpans(2));
}

TEST_CASE("DiskQueue keeps a backlog on the disk and not in memory", "[spans]") {
  QueueFixture f;
  auto queue = f.Open(f.next, 10'000);
  for (int i = 0; i < 50; ++i) f.Take(*queue, 1, 2000);
  f.next.WaitSpans(3);
  CHECK(f.memory.used() < 20'000);
  CHECK(queue->stats().records == 50);
  std::vector<std::string> seen;
  while (seen.size() < 50) {
    for (const Batch& batch : f.next.Take()) seen.push_back(Names(batch.spans).at(0));
  }
  f.Wait([&] { return queue->stats().records == 0; });
}

TEST_CASE("DiskQueue passes over what it cannot read back", "[spans]") {
  QueueFixture f;
  SpanCodec codec = kJson;
  codec.encode = [](const Spans& spans) {
    return CountSpans(spans) == 1 ? std::string("{") : ToOtlpJson(spans);
  };
  auto queue = f.Open(f.next, 1 << 20, codec);
  f.Take(*queue, 1);
  f.Take(*queue, 2);
  CHECK(f.next.WaitSpans(2) == 2);
  f.next.Take();
  f.Wait([&] { return queue->stats().records == 0; });
  CHECK(f.Shows("weft_collector_spans_failed_total{exporter=\"disk_queue\"} 1"));
}

TEST_CASE("DiskQueue refuses what its log refuses, and takes nothing of it", "[spans]") {
  QueueFixture f;
  f.options.max_bytes = 3000;
  f.next.SetFull(true);
  auto queue = f.Open(f.next);
  f.Take(*queue, 1, 2000);
  Batch batch{MakeSpans(1, 2000), {}, {}};
  const absl::Status status = queue->Consume(batch);
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(RetryAfterOf(status).has_value());
  CHECK(CountSpans(batch.spans) == 1);
  queue->Shutdown(0ns);
  CHECK(queue->Consume(batch).code() == absl::StatusCode::kUnavailable);
}

// The whole chain. A destination that is away at first: nothing counts as failed, and the next
// process delivers all of it; what is delivered is not sent again.
TEST_CASE("Spans of a chain that ends before its destination is back come with the next",
          "[spans]") {
  QueueFixture f;
  Script away;
  away.answers = std::vector<absl::Status>(1000, Unavailable("away"));
  const auto run = [&](Script& script, const std::function<void(DiskQueue&)>& body) {
    ExportQueue exporter(std::make_unique<FakeSender>(script), Fast(), f.metrics);
    Batcher batcher(exporter, f.memory, {.max_spans = 4, .max_wait = 1ms}, f.metrics);
    auto queue = f.Open(batcher);
    exporter.Start();
    batcher.Start();
    body(*queue);
    queue->Shutdown(1s);
    batcher.Shutdown(1s);
    exporter.Shutdown(20ms);
    queue->Close();
  };
  run(away, [&](DiskQueue& queue) {
    for (size_t i = 1; i <= 10; ++i) f.Take(queue, i);
    away.WaitCalls(3);
  });
  CHECK_FALSE(f.Shows("weft_collector_spans_failed_total{exporter=\"otlp\"} 55"));
  Script back;
  run(back, [&](DiskQueue&) {
    f.Wait([&] { return f.Shows("weft_collector_spans_exported_total{exporter=\"otlp\"} 55"); });
  });
  Script again;
  run(again, [](DiskQueue& queue) { CHECK(queue.stats().records == 0); });
  CHECK(again.sent.empty());
  CHECK(f.registry.Expose().find("spans_failed_total{") == std::string::npos);
  CHECK(f.memory.used() == 0);
}

}  // namespace
}  // namespace weft::spans
