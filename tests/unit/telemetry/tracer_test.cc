#include "libs/telemetry/tracer.h"

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::telemetry {
namespace {

using namespace std::chrono_literals;

struct Taken {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<SpanData> spans;
  int calls = 0;
  absl::Status answer;  // for the next `failures` calls
  int failures = 0;
  bool blocked = false;

  std::vector<SpanData> Wait(size_t count) {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, 10s, [&] { return spans.size() >= count; }));
    return spans;
  }
};

class FakeExporter final : public SpanExporter {
 public:
  explicit FakeExporter(Taken& taken) : taken_(taken) {}
  absl::Status Export(const std::vector<SpanData>& spans, std::chrono::nanoseconds wait) override {
    std::unique_lock lock(taken_.mutex);
    ++taken_.calls;
    taken_.changed.notify_all();
    if (taken_.blocked) {
      taken_.changed.wait_for(lock, wait, [&] { return !taken_.blocked; });
      if (taken_.blocked) return DeadlineExceeded("blocked");
    }
    if (taken_.failures > 0) {
      --taken_.failures;
      return taken_.answer;
    }
    taken_.spans.insert(taken_.spans.end(), spans.begin(), spans.end());
    taken_.changed.notify_all();
    return absl::OkStatus();
  }

 private:
  Taken& taken_;
};

std::unique_ptr<Tracer> MakeTracer(Taken& taken, TracerOptions options = {},
                                   const Clock& clock = Clock::Real()) {
  options.flush_interval = 5ms;
  return std::make_unique<Tracer>(options, std::make_unique<FakeExporter>(taken), clock);
}

TEST_CASE("ParseTraceparent follows the grammar of W3C Trace Context", "[telemetry]") {
  const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const SpanContext context = ParseTraceparent(good, "vendor=1");
  REQUIRE(context.valid());
  REQUIRE(context.sampled);
  REQUIRE(context.trace_state == "vendor=1");
  REQUIRE(FormatTraceparent(context) == good);
  // A later version, with or without more fields, reads as version 00 does.
  REQUIRE(ParseTraceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").valid());
  REQUIRE(ParseTraceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what").valid());
  REQUIRE_FALSE(
      ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-08").sampled);

  for (const char* bad : {"", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
                          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
                          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
                          "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
                          "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                          "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                          "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                          "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
                          "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                          "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) {
    INFO(bad);
    REQUIRE_FALSE(ParseTraceparent(bad).valid());
  }
  REQUIRE(ParseTraceparent(good, std::string(513, 'x')).trace_state.empty());
  REQUIRE(ParseTraceparent(good, "a=\n").trace_state.empty());
}

TEST_CASE("A span carries its parent's trace and what was set on it", "[telemetry]") {
  Taken taken;
  FakeClock clock;
  auto tracer = MakeTracer(taken, {}, clock);
  {
    Span parent = tracer->Start("request", {.kind = SpanKind::kServer});
    Span child = tracer->Start("prefill", {.parent = parent.context()});
    REQUIRE(child.context().trace_id == parent.context().trace_id);
    REQUIRE(child.context().span_id != parent.context().span_id);
    child.Set("text", "t");
    child.Set("count", 3u);
    child.Set("count", 4);
    child.Set("ratio", 0.5F);
    child.Set("yes", true);
    child.Set("list", std::vector<std::string>{"a"});
    child.AddEvent("first token", {{"index", int64_t{0}}});
    clock.Advance(15ms);
    child.SetStatus(Unavailable("worker is gone"));
    child.End();
    child.Set("late", 1);
    child.End();
  }
  const auto spans = taken.Wait(2);
  const SpanData& child = spans[0];
  REQUIRE(child.name == "prefill");
  REQUIRE(child.parent == spans[1].context.span_id);
  REQUIRE(child.end - child.start == 15ms);
  REQUIRE(child.attributes.size() == 5);
  REQUIRE(std::get<int64_t>(child.attributes[1].second) == 4);
  REQUIRE(std::get<bool>(child.attributes[3].second));
  REQUIRE(child.status == SpanStatus::kError);
  REQUIRE(child.status_message == "UNAVAILABLE: worker is gone");
  REQUIRE(child.events.at(0).name == "first token");
  REQUIRE(spans[1].kind == SpanKind::kServer);
  REQUIRE(spans[1].parent == SpanId{});
}

TEST_CASE("A span bounds its attributes, events and text", "[telemetry]") {
  Taken taken;
  auto tracer = MakeTracer(taken);
  {
    Span span = tracer->Start(std::string(1000, 'n') + "\xff");
    for (int i = 0; i < 200; ++i) span.Set("k" + std::to_string(i), i);
    for (int i = 0; i < 200; ++i) span.AddEvent("e");
    span.Set("k0", std::string(10'000, 'x'));
  }
  const SpanData span = taken.Wait(1)[0];
  REQUIRE(span.name.size() == 256);
  REQUIRE(span.attributes.size() == 128);
  REQUIRE(span.dropped_attributes == 72);
  REQUIRE(span.dropped_events == 72);
  REQUIRE(std::get<std::string>(span.attributes[0].second).size() == 4096);
}

TEST_CASE("A span with explicit times keeps them, and never ends before it began", "[telemetry]") {
  Taken taken;
  FakeClock clock;
  auto tracer = MakeTracer(taken, {}, clock);
  const WallTime start = clock.Wall() - 100ms;
  tracer->Start("queue", {.start = start}).End(start + 40ms);
  tracer->Start("odd", {.start = start}).End(start - 1s);
  const auto spans = taken.Wait(2);
  REQUIRE(spans[0].end - spans[0].start == 40ms);
  REQUIRE(spans[1].end == spans[1].start);
}

TEST_CASE("Tracer samples new traces by ratio and follows a parent's decision", "[telemetry]") {
  Taken taken;
  auto none = MakeTracer(taken, {.sample_ratio = 0});
  SpanContext parent;
  parent.trace_id.fill(1);
  parent.span_id.fill(2);
  REQUIRE_FALSE(none->Start("a").recording());
  REQUIRE(none->Start("a").context().valid());
  REQUIRE_FALSE(none->Start("a", {.parent = parent}).recording());
  parent.sampled = true;
  REQUIRE(none->Start("a", {.parent = parent}).recording());

  auto half = MakeTracer(taken, {.sample_ratio = 0.5});
  int sampled = 0;
  for (int i = 0; i < 2000; ++i) sampled += half->Start("a").recording() ? 1 : 0;
  REQUIRE(sampled > 800);
  REQUIRE(sampled < 1200);
}

TEST_CASE("Tracer without an exporter still passes contexts on", "[telemetry]") {
  Tracer tracer({}, nullptr);
  Span root = tracer.Start("a");
  REQUIRE_FALSE(root.recording());
  REQUIRE(ParseTraceparent(root.traceparent()).valid());
  REQUIRE_FALSE(root.context().sampled);
  SpanContext parent = root.context();
  parent.sampled = true;
  REQUIRE(tracer.Start("b", {.parent = parent}).context().sampled);
  root.Set("k", 1);
  root.End();
}

TEST_CASE("Tracer counts bad traceparents, and absent ones are not bad", "[telemetry]") {
  Tracer tracer({}, nullptr);
  REQUIRE_FALSE(tracer.Extract("").valid());
  REQUIRE_FALSE(tracer.Extract("garbage").valid());
  REQUIRE(tracer.stats().bad_traceparents == 1);
}

TEST_CASE("Tracer drops and counts spans when its queue is full", "[telemetry]") {
  Taken taken;
  taken.blocked = true;
  TracerOptions options;
  options.queue_spans = 10;
  options.batch_spans = 5;
  options.retry_for = 60s;
  auto tracer = MakeTracer(taken, options);
  for (int i = 0; i < 5; ++i) tracer->Start("a");
  {
    std::unique_lock lock(taken.mutex);
    REQUIRE(taken.changed.wait_for(lock, 10s, [&] { return taken.calls > 0; }));
  }
  for (int i = 0; i < 30; ++i) tracer->Start("b");
  REQUIRE(tracer->stats().dropped == 20);
  REQUIRE(tracer->stats().queued == 10);
  {
    std::lock_guard lock(taken.mutex);
    taken.blocked = false;
  }
  taken.changed.notify_all();
  taken.Wait(15);
}

TEST_CASE("Tracer tries a batch again when the collector is away", "[telemetry]") {
  Taken taken;
  taken.failures = 2;
  taken.answer = Unavailable("away");
  auto tracer = MakeTracer(taken);
  tracer->Start("a");
  REQUIRE(taken.Wait(1).size() == 1);
  tracer->Shutdown(1s);
  REQUIRE(tracer->stats().exported == 1);
  REQUIRE(taken.calls == 3);
}

TEST_CASE("Tracer drops a batch that the collector refuses for good", "[telemetry]") {
  Taken taken;
  taken.failures = 1;
  taken.answer = InvalidArgument("no");
  auto tracer = MakeTracer(taken);
  tracer->Start("a");
  tracer->Shutdown(1s);
  REQUIRE(tracer->stats().dropped == 1);
  REQUIRE(taken.calls == 1);
}

TEST_CASE("Shutdown exports what is queued, in bounded time, twice", "[telemetry]") {
  Taken taken;
  TracerOptions options;
  options.batch_spans = 10;
  auto tracer = MakeTracer(taken, options);
  for (int i = 0; i < 95; ++i) tracer->Start("a");
  tracer->Shutdown(5s);
  tracer->Shutdown(5s);
  REQUIRE(taken.spans.size() == 95);
  tracer->Start("late");
  REQUIRE(tracer->stats().dropped == 1);

  Taken stuck;
  stuck.blocked = true;
  auto other = MakeTracer(stuck);
  other->Start("a");
  const auto begin = std::chrono::steady_clock::now();
  other->Shutdown(100ms);
  REQUIRE(std::chrono::steady_clock::now() - begin < 8s);
  REQUIRE(other->stats().dropped == 1);
}

TEST_CASE("Tracer takes spans from many threads", "[telemetry]") {
  Taken taken;
  auto tracer = MakeTracer(taken);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 250; ++i) tracer->Start("a").Set("i", i);
    });
  }
  for (auto& thread : threads) thread.join();
  tracer->Shutdown(5s);
  REQUIRE(taken.spans.size() == 1000);
}

}  // namespace
}  // namespace weft::telemetry
