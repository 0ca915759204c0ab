#include "services/worker/session_hub.h"

#include <map>

#include "libs/base/status.h"
#include "tests/support/catch.h"

using namespace std::chrono_literals;
using weft::worker::EnginePort;
using weft::worker::FrameSink;
using weft::worker::HubOptions;
using weft::worker::SessionHub;
namespace v1 = weft::v1;
namespace engine = weft::engine;
namespace kv = weft::kv;

namespace {

class FakeEngine final : public EnginePort {
 public:
  FakeEngine() {
    info_.set_id("m");
    info_.set_tokenizer_sha256("t");
  }
  const v1::ModelInfo& info() const override { return info_; }
  uint32_t max_sequences() const override { return 8; }
  uint32_t kv_blocks() const override { return 100; }
  absl::Status Submit(engine::WorkItem item) override {
    if (!refusal.ok()) return refusal;
    items.push_back(std::move(item));
    return absl::OkStatus();
  }
  void Cancel(std::span<const uint64_t> ids) override {
    cancelled.insert(cancelled.end(), ids.begin(), ids.end());
  }
  void RequestKvSnapshot() override { ++snapshots; }
  engine::EngineStats Stats() const override { return stats; }

  std::vector<engine::WorkItem> items;
  std::vector<uint64_t> cancelled;
  int snapshots = 0;
  absl::Status refusal;
  engine::EngineStats stats;

 private:
  v1::ModelInfo info_;
};

class FakeSink final : public FrameSink {
 public:
  void Send(v1::StepFrame frame) override { frames.push_back(std::move(frame)); }
  size_t queued() const override { return busy ? 100 : 0; }
  void Abort(const absl::Status& s) override { aborted = s; }

  std::vector<v1::StepFrame> frames;
  bool busy = false;
  absl::Status aborted;
};

struct Bench {
  explicit Bench(HubOptions options = {})
      : hub(
            "w0", {&engine}, options,
            [this](const weft::worker::ItemRecord& item, const engine::StepFinish&) {
              finished.push_back(item.request_id);
            },
            clock) {}

  uint64_t Open(std::shared_ptr<FakeSink> sink, const std::string& id = "s", uint64_t epoch = 1) {
    v1::WorkHello hello;
    hello.set_scheduler_id(id);
    hello.set_epoch(epoch);
    const auto session = hub.Open(hello, std::move(sink));
    REQUIRE(session.ok());
    return *session;
  }
  static v1::WorkFrame Work(uint32_t handle) {
    v1::WorkFrame frame;
    v1::WorkItem& item = *frame.add_items();
    item.set_handle(handle);
    item.set_attempt(1);
    item.set_request_id("r" + std::to_string(handle));
    item.set_model("m");
    item.add_prompt_ids(1);
    item.mutable_sampling()->set_seed(1);
    return frame;
  }
  // One token for each item of the engine in [begin, end).
  engine::StepOutput Step(size_t begin, size_t end, uint32_t index) {
    engine::StepOutput out;
    out.step = ++steps;
    for (size_t i = begin; i < end; ++i) {
      engine::StepRow row;
      row.id = engine.items[i].id;
      row.attempt = engine.items[i].attempt;
      row.first_index = index;
      row.token_begin = static_cast<uint32_t>(out.tokens.size());
      row.token_count = 1;
      out.tokens.push_back(static_cast<int32_t>(100 + i));
      out.rows.push_back(row);
    }
    return out;
  }
  static void AddFinish(engine::StepOutput& out, uint64_t id) {
    engine::StepFinish f;
    f.id = id;
    f.attempt = 1;
    f.reason = engine::FinishReason::kLength;
    out.finishes.push_back(f);
  }

  weft::FakeClock clock;
  FakeEngine engine;
  std::vector<std::string> finished;
  uint64_t steps = 0;
  SessionHub hub;
};

}  // namespace

TEST_CASE("A session begins with a welcome, credits and a request for the cache's keys",
          "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  b.Open(sink, "s", 7);
  REQUIRE(sink->frames.size() == 1);
  const v1::StepFrame& f = sink->frames[0];
  CHECK(f.welcome().worker_id() == "w0");
  CHECK(f.welcome().epoch() == 7);
  CHECK(f.welcome().lease_ms() == 5000);
  CHECK(f.welcome().models(0).id() == "m");
  CHECK(f.credits(0).sequences() == 9);
  CHECK(f.credits(0).kv_blocks() == 100);
  CHECK(f.stats_size() == 1);
  CHECK(b.engine.snapshots == 1);
}

TEST_CASE("A step is one frame for each session, with only its own sequences", "[worker]") {
  Bench b;
  const auto one = std::make_shared<FakeSink>();
  const auto two = std::make_shared<FakeSink>();
  const uint64_t s1 = b.Open(one, "a");
  const uint64_t s2 = b.Open(two, "b");
  for (uint32_t h = 1; h <= 3; ++h) b.hub.OnWork(s1, Bench::Work(h));
  b.hub.OnWork(s2, Bench::Work(1));
  REQUIRE(b.engine.items.size() == 4);
  const size_t before = one->frames.size();
  b.hub.OnStep(0, b.Step(0, 4, 0));
  REQUIRE(one->frames.size() == before + 1);
  CHECK(one->frames.back().handles_size() == 3);
  CHECK(two->frames.back().handles_size() == 1);
  CHECK(two->frames.back().token_ids(0) == 103);
}

TEST_CASE("Credits are shared between schedulers, and work beyond them is refused", "[worker]") {
  Bench b;
  const auto one = std::make_shared<FakeSink>();
  const uint64_t s1 = b.Open(one, "a");
  const auto two = std::make_shared<FakeSink>();
  b.Open(two, "b");
  CHECK(one->frames.back().credits(0).sequences() == 4);
  CHECK(two->frames.back().credits(0).sequences() == 4);
  for (uint32_t h = 1; h <= 5; ++h) b.hub.OnWork(s1, Bench::Work(h));
  CHECK(b.engine.items.size() == 4);
  REQUIRE(one->frames.back().finishes_size() == 1);
  CHECK(one->frames.back().finishes(0).error().code() == 8);
}

TEST_CASE("Rows for a slow session are merged, and none is lost", "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t s = b.Open(sink);
  b.hub.OnWork(s, Bench::Work(1));
  sink->busy = true;
  const size_t before = sink->frames.size();
  for (uint32_t i = 0; i < 5; ++i) b.hub.OnStep(0, b.Step(0, 1, i));
  CHECK(sink->frames.size() == before);
  sink->busy = false;
  b.hub.Tick();
  REQUIRE(sink->frames.size() == before + 1);
  const v1::StepFrame& f = sink->frames.back();
  REQUIRE(f.handles_size() == 5);
  for (int i = 0; i < 5; ++i) CHECK(f.first_indexes(i) == static_cast<uint32_t>(i));
}

TEST_CASE("A session that never reads is closed when its rows are too many", "[worker]") {
  HubOptions options;
  options.max_pending_tokens = 3;
  Bench b(options);
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t s = b.Open(sink);
  b.hub.OnWork(s, Bench::Work(1));
  sink->busy = true;
  for (uint32_t i = 0; i < 5; ++i) b.hub.OnStep(0, b.Step(0, 1, i));
  CHECK(sink->aborted.code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("Sequences of a broken session are freed when its lease ends", "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t s = b.Open(sink);
  b.hub.OnWork(s, Bench::Work(1));
  b.hub.OnClosed(s);
  b.clock.Advance(4900ms);
  b.hub.Tick();
  CHECK(b.engine.cancelled.empty());
  b.hub.OnStep(0, b.Step(0, 1, 0));  // nobody to tell: dropped
  b.clock.Advance(200ms);
  b.hub.Tick();
  REQUIRE(b.engine.cancelled.size() == 1);
  auto out = b.Step(0, 0, 0);
  Bench::AddFinish(out, b.engine.items[0].id);
  b.hub.OnStep(0, out);
  CHECK(b.hub.items() == 0);
  CHECK(b.finished == std::vector<std::string>{"r1"});
}

TEST_CASE("A newer session of the same scheduler frees the older one's sequences at once",
          "[worker]") {
  Bench b;
  const auto old = std::make_shared<FakeSink>();
  const uint64_t s = b.Open(old, "s", 5);
  b.hub.OnWork(s, Bench::Work(1));
  b.Open(std::make_shared<FakeSink>(), "s", 6);
  CHECK(b.engine.cancelled.size() == 1);
  CHECK_FALSE(old->aborted.ok());

  v1::WorkHello late;
  late.set_scheduler_id("s");
  late.set_epoch(5);
  CHECK(b.hub.Open(late, std::make_shared<FakeSink>()).status().code() ==
        absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("Cancels reach the engine at once, and only for the session's own handles", "[worker]") {
  Bench b;
  const uint64_t s1 = b.Open(std::make_shared<FakeSink>(), "a");
  const uint64_t s2 = b.Open(std::make_shared<FakeSink>(), "b");
  b.hub.OnWork(s1, Bench::Work(1));
  v1::WorkFrame cancel;
  cancel.add_cancels(1);
  b.hub.OnWork(s2, cancel);
  CHECK(b.engine.cancelled.empty());
  b.hub.OnWork(s1, cancel);
  CHECK(b.engine.cancelled == std::vector<uint64_t>{b.engine.items[0].id});
}

TEST_CASE("What cannot run here is refused without touching the engine", "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t s = b.Open(sink);
  v1::WorkFrame frame = Bench::Work(1);
  frame.mutable_items(0)->set_model("other");
  b.hub.OnWork(s, frame);
  CHECK(sink->frames.back().finishes(0).error().code() == 5);

  b.engine.refusal = weft::ResourceExhausted("full");
  b.hub.OnWork(s, Bench::Work(2));
  CHECK(sink->frames.back().finishes(0).error().code() == 8);
  CHECK(b.hub.items() == 0);

  b.hub.BeginDrain();
  CHECK(sink->frames.back().draining());
  b.hub.OnWork(s, Bench::Work(3));
  CHECK(sink->frames.back().finishes(0).error().code() == 14);

  b.engine.refusal = absl::OkStatus();
}

TEST_CASE("A handle used twice ends the session", "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t s = b.Open(sink);
  b.hub.OnWork(s, Bench::Work(1));
  b.hub.OnWork(s, Bench::Work(1));
  CHECK(sink->aborted.code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("Statistics go out every second, also when no step ends", "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  b.Open(sink);
  b.engine.stats.layer_progress = 42;
  CHECK(b.hub.Tick() == b.clock.Now() + 1s);
  b.clock.Advance(1s);
  b.hub.Tick();
  CHECK(sink->frames.back().stats(0).layer_progress() == 42);
  CHECK(sink->frames.back().stats(0).model() == "m");
}

TEST_CASE("A session learns the cache's keys from a snapshot, then from numbered changes",
          "[worker]") {
  Bench b;
  const auto sink = std::make_shared<FakeSink>();
  b.Open(sink);
  const size_t before = sink->frames.size();
  engine::StepOutput out;
  out.kv_events = {4, {{1, 1}}, {}};
  b.hub.OnStep(0, out);
  CHECK(sink->frames.size() == before);  // changes of an unknown set
  out.kv_events = {};
  out.kv_snapshot = kv::KvSnapshot{4, {{1, 1}, {2, 2}}};
  b.hub.OnStep(0, out);
  REQUIRE(sink->frames.back().kv_events_size() == 1);
  CHECK(sink->frames.back().kv_events(0).snapshot());
  CHECK(sink->frames.back().kv_events(0).stored().size() == 32);
  out.kv_snapshot.reset();
  out.kv_events = {5, {}, {{2, 2}}};
  b.hub.OnStep(0, out);
  CHECK(sink->frames.back().kv_events(0).first_number() == 5);
  CHECK(sink->frames.back().kv_events(0).removed().size() == 16);
}

TEST_CASE("Changes of the cache that a slow session misses are replaced by a snapshot",
          "[worker]") {
  HubOptions options;
  options.max_pending_kv_bytes = 16;
  Bench b(options);
  const auto sink = std::make_shared<FakeSink>();
  b.Open(sink);
  engine::StepOutput out;
  out.kv_snapshot = kv::KvSnapshot{1, {}};
  b.hub.OnStep(0, out);
  out.kv_snapshot.reset();
  sink->busy = true;
  for (uint64_t n = 2; n < 6; ++n) {
    out.kv_events = {n, {{n, n}}, {}};
    b.hub.OnStep(0, out);
  }
  CHECK(b.engine.snapshots == 2);
  out.kv_events = {};
  out.kv_snapshot = kv::KvSnapshot{6, {{9, 9}}};
  b.hub.OnStep(0, out);
  sink->busy = false;
  b.hub.Tick();
  const v1::StepFrame& f = sink->frames.back();
  REQUIRE(f.kv_events_size() == 1);
  CHECK(f.kv_events(0).snapshot());
}
