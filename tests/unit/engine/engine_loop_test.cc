#include "libs/engine/engine_loop.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Collects what the sink gets; thread safe.
class Collector {
 public:
  StepSink Sink() {
    return [this](const StepOutput& out) {
      std::lock_guard lock(mutex_);
      for (const StepRow& row : out.rows) {
        for (int32_t token : out.Tokens(row)) tokens_[row.id].push_back(token);
      }
      for (const StepFinish& finish : out.finishes) {
        finishes_.emplace(finish.id, finish.reason);
        ++finish_count_;
      }
    };
  }
  std::map<uint64_t, std::vector<int32_t>> tokens() {
    std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::map<uint64_t, FinishReason> finishes() {
    std::lock_guard lock(mutex_);
    return finishes_;
  }
  size_t finish_count() {
    std::lock_guard lock(mutex_);
    return finish_count_;
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, std::vector<int32_t>> tokens_;
  std::map<uint64_t, FinishReason> finishes_;
  size_t finish_count_ = 0;
};

std::unique_ptr<Engine> MakeEngine(EngineOptions options = {}, FakeModelOptions model = {}) {
  auto engine = Engine::Create(std::make_unique<FakeModel>(std::move(model)), options);
  REQUIRE(engine.ok());
  return *std::move(engine);
}

WorkItem Endless(uint64_t id) {
  WorkItem item;
  item.id = id;
  item.prompt = {5, 6, 7};
  item.sampling = {.temperature = 0.0F, .max_tokens = 1000000, .ignore_eos = true};
  return item;
}

TEST_CASE("EngineLoop drains: what runs ends, what comes is refused", "[engine]") {
  Collector collector;
  EngineLoop loop(MakeEngine(), collector.Sink());
  loop.Start();
  for (uint64_t id = 1; id <= 12; ++id) {
    REQUIRE(loop.engine().Submit(EngineFixture::MixedItem(id)).ok());
  }
  loop.BeginDrain();
  CHECK(loop.draining());
  CHECK(loop.engine().Submit(EngineFixture::MixedItem(13)).code() ==
        absl::StatusCode::kUnavailable);
  REQUIRE(loop.WaitDrained(seconds(30)));
  CHECK(collector.finishes().size() == 12);
  CHECK(collector.finish_count() == 12);
  for (uint64_t id = 1; id <= 12; ++id) {
    EngineFixture alone;
    REQUIRE(alone.Submit(alone.MixedItem(id)).ok());
    alone.RunUntilIdle();
    CHECK(collector.tokens()[id] == alone.outcome(id).tokens);
  }
  loop.Stop();
}

TEST_CASE("EngineLoop stops in the middle and tells the sink what it cancelled", "[engine]") {
  Collector collector;
  FakeModelOptions slow;
  slow.before_forward = [](const StepBatch&) {
    std::this_thread::sleep_for(milliseconds(1));
    return absl::OkStatus();
  };
  EngineLoop loop(MakeEngine({}, slow), collector.Sink());
  loop.Start();
  for (uint64_t id = 1; id <= 3; ++id) REQUIRE(loop.engine().Submit(Endless(id)).ok());
  while (collector.tokens().size() < 3) std::this_thread::yield();
  CHECK_FALSE(loop.WaitDrained(milliseconds(5)));
  loop.Stop();
  CHECK(collector.finishes().size() == 3);
  for (const auto& [id, reason] : collector.finishes()) CHECK(reason == FinishReason::kCancelled);
  CHECK(loop.engine().stats().kv_blocks_free == loop.engine().stats().kv_blocks_total);
  loop.Stop();
}

TEST_CASE("A model that is gone ends the loop, and nobody is told that their work has ended",
          "[engine]") {
  std::atomic<int> forwards{0};
  FakeModelOptions model;
  model.before_forward = [&](const StepBatch&) {
    return ++forwards < 3 ? absl::OkStatus() : Internal("rank 1 is lost");
  };
  model.health_when_it_fails = Unavailable("rank 1 is lost");
  std::mutex mutex;
  std::vector<absl::Status> gone;
  size_t finishes = 0;
  EngineLoop loop(MakeEngine({}, model), [&](const StepOutput& out) {
    std::lock_guard lock(mutex);
    finishes += out.finishes.size();
    if (!out.model_gone.ok()) gone.push_back(out.model_gone);
  });
  loop.Start();
  for (uint64_t id = 1; id <= 3; ++id) REQUIRE(loop.engine().Submit(Endless(id)).ok());
  const auto told = [&] {
    std::lock_guard lock(mutex);
    return !gone.empty();
  };
  while (!told()) std::this_thread::yield();
  CHECK_FALSE(loop.WaitDrained(milliseconds(5)));
  loop.Stop();
  REQUIRE(gone.size() == 1);
  CHECK(gone[0] == model.health_when_it_fails);
  CHECK(finishes == 0);
  CHECK(forwards == 3);  // not tried again one by one
}

TEST_CASE("EngineLoop may be stopped before it was started", "[engine]") {
  Collector collector;
  EngineLoop loop(MakeEngine(), collector.Sink());
  loop.Stop();
  loop.Start();
  loop.Stop();
  CHECK(collector.finish_count() == 0);
}

TEST_CASE("EngineLoop takes submits and cancels from many threads and loses none", "[engine]") {
  Collector collector;
  EngineLoop loop(MakeEngine({.max_sequences = 16, .max_waiting = 100000, .kv_blocks = 40}),
                  collector.Sink());
  loop.Start();
  std::atomic<size_t> accepted{0};
  std::vector<std::thread> threads;
  constexpr uint64_t kPerThread = 60;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 1; i <= kPerThread; ++i) {
        const uint64_t id = t * 1000 + i;
        WorkItem item = EngineFixture::MixedItem(id % 50 + 1);
        item.id = id;
        if (loop.engine().Submit(std::move(item)).ok()) ++accepted;
        if (i % 3 == 0) loop.engine().Cancel(id - 1);
        if (i % 7 == 0) loop.engine().RequestKvSnapshot();
        (void)loop.engine().stats();
        (void)loop.progress();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(loop.WaitDrained(seconds(60)));
  CHECK(accepted == 4 * kPerThread);
  CHECK(collector.finish_count() == accepted);
  CHECK(collector.finishes().size() == accepted);
  CHECK(loop.engine().stats().kv_blocks_free == 40);
}

TEST_CASE("EngineLoop reports progress while a step runs and none while it hangs", "[engine]") {
  std::atomic<bool> hang{false};
  FakeModelOptions model;
  model.before_forward = [&](const StepBatch&) {
    while (hang) std::this_thread::sleep_for(milliseconds(1));
    return absl::OkStatus();
  };
  Collector collector;
  EngineLoop loop(MakeEngine({}, model), collector.Sink());
  loop.Start();
  CHECK_FALSE(loop.progress().busy);
  REQUIRE(loop.engine().Submit(Endless(1)).ok());
  while (collector.tokens().empty()) std::this_thread::yield();
  CHECK(loop.progress().busy);
  hang = true;
  EngineProgress last = loop.progress();
  for (int same = 0; same < 20;) {
    std::this_thread::sleep_for(milliseconds(1));
    const EngineProgress now = loop.progress();
    same = now.steps == last.steps && now.layers == last.layers ? same + 1 : 0;
    last = now;
  }
  hang = false;
  while (loop.progress().steps == last.steps) std::this_thread::yield();
  loop.Stop();
}

TEST_CASE("ProgressWatchdog sees a hang only when busy and nothing moves for the limit",
          "[engine]") {
  FakeClock clock;
  ProgressWatchdog dog(seconds(10));
  EngineProgress p{.steps = 5, .layers = 100, .busy = true};
  CHECK_FALSE(dog.Hangs(p, clock.Now()));
  clock.Advance(seconds(9));
  CHECK_FALSE(dog.Hangs(p, clock.Now()));
  clock.Advance(seconds(1));
  CHECK(dog.Hangs(p, clock.Now()));
  ++p.layers;  // a long prefill: no step, but layers
  CHECK_FALSE(dog.Hangs(p, clock.Now()));
  clock.Advance(seconds(9));
  ++p.steps;
  CHECK_FALSE(dog.Hangs(p, clock.Now()));
  p.busy = false;
  clock.Advance(seconds(100));
  CHECK_FALSE(dog.Hangs(p, clock.Now()));
  p.busy = true;  // work came after a long rest: the time starts now
  clock.Advance(seconds(1));
  CHECK_FALSE(dog.Hangs(p, clock.Now()));
  clock.Advance(seconds(10));
  CHECK(dog.Hangs(p, clock.Now()));
}

}  // namespace
}  // namespace weft::engine
