// What a sequence says: a function of its item, whatever else runs.
#include "libs/engine/engine.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

TEST_CASE("Engine runs a prompt to its token limit and gives all blocks back", "[engine]") {
  EngineFixture f;
  REQUIRE(f.Submit(f.Item(1, 100, {.temperature = 0.0F, .max_tokens = 10})).ok());
  f.RunUntilIdle();
  const Outcome& o = f.outcome(1);
  CHECK(o.finish->reason == FinishReason::kLength);
  CHECK(o.tokens.size() == 10);
  CHECK(o.starts == 1);
  CHECK(o.finish->prompt_tokens == 100);
  CHECK(o.finish->output_tokens == 10);
  CHECK(f.engine().stats().kv_blocks_free == f.engine().stats().kv_blocks_total);
}

TEST_CASE("Engine says what a plain loop over model and sampler says", "[engine]") {
  EngineFixture f;
  for (uint64_t id = 1; id <= 40; ++id) REQUIRE(f.Submit(f.MixedItem(id)).ok());
  f.RunUntilIdle();
  for (uint64_t id = 1; id <= 40; ++id) {
    INFO("id " << id);
    CHECK(f.outcome(id).tokens == PlainLoop(f.MixedItem(id)));
  }
}

TEST_CASE("Engine gives each choice of a seed its own tokens", "[engine]") {
  EngineFixture f;
  for (uint64_t id = 1; id <= 3; ++id) {
    WorkItem item = f.Item(1, 20, {.temperature = 1.0F, .max_tokens = 20, .seed = 3});
    item.id = id;
    item.choice = id == 3 ? 0 : static_cast<uint32_t>(id - 1);
    REQUIRE(f.Submit(item).ok());
  }
  f.RunUntilIdle();
  CHECK(f.outcome(1).tokens != f.outcome(2).tokens);
  CHECK(f.outcome(1).tokens == f.outcome(3).tokens);
}

TEST_CASE("Engine gives a sequence the same tokens alone and in any company", "[engine]") {
  std::map<uint64_t, std::vector<int32_t>> alone;
  for (uint64_t id = 1; id <= 12; ++id) {
    EngineFixture f;
    REQUIRE(f.Submit(f.MixedItem(id)).ok());
    f.RunUntilIdle();
    alone[id] = f.outcome(id).tokens;
  }
  for (bool prefix_cache : {false, true}) {
    for (int32_t budget : {8, 33, 512}) {
      EngineFixture f({.max_sequences = 8,
                       .token_budget = budget,
                       .kv_blocks = 64,
                       .prefix_cache = prefix_cache});
      for (uint64_t id = 1; id <= 12; ++id) REQUIRE(f.Submit(f.MixedItem(id)).ok());
      f.RunUntilIdle();
      for (uint64_t id = 1; id <= 12; ++id) {
        INFO("id " << id << " budget " << budget << " prefix cache " << prefix_cache);
        CHECK(f.outcome(id).tokens == alone[id]);
      }
      CHECK(f.model().largest_batch() > 1);
      CHECK(f.engine().stats().kv_blocks_free == 64);
    }
  }
}

TEST_CASE("Engine resumes prompt and output exactly where an earlier attempt stopped", "[engine]") {
  EngineFixture f;
  for (uint64_t id = 1; id <= 6; ++id) {
    REQUIRE(f.Submit(f.MixedItem(id)).ok());
    f.RunUntilIdle();
    const std::vector<int32_t> whole = f.outcome(id).tokens;
    for (size_t cut = 0; cut <= whole.size(); cut += 3) {
      EngineFixture g;
      WorkItem item = g.MixedItem(id);
      item.attempt = 2;
      item.output.assign(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut));
      REQUIRE(g.Submit(item).ok());
      g.RunUntilIdle();
      INFO("id " << id << " cut " << cut);
      CHECK(g.outcome(id).first_index == cut);
      std::vector<int32_t> joined = item.output;
      joined.insert(joined.end(), g.outcome(id).tokens.begin(), g.outcome(id).tokens.end());
      CHECK(joined == whole);
      CHECK(g.outcome(id).finish->reason == f.outcome(id).finish->reason);
      CHECK(g.outcome(id).finish->attempt == 2);
      CHECK(g.outcome(id).finish->output_tokens == whole.size());
    }
  }
}

TEST_CASE("Engine finishes a resumed item that was complete without running it", "[engine]") {
  EngineFixture f;
  WorkItem full = f.Item(1, 10, {.temperature = 0.0F, .max_tokens = 3});
  full.output = {5, 6, 7};
  WorkItem ended = f.Item(2, 10, {.temperature = 0.0F, .max_tokens = 9});
  ended.output = {5, 2};
  REQUIRE(f.Submit(full).ok());
  REQUIRE(f.Submit(ended).ok());
  f.StepOnce();
  CHECK(f.outcome(1).finish->reason == FinishReason::kLength);
  CHECK(f.outcome(2).finish->reason == FinishReason::kStop);
  CHECK(f.model().forwards() == 0);
  CHECK(f.engine().idle());
}

TEST_CASE("Engine options are checked by name", "[engine]") {
  auto message = [](EngineOptions options) {
    return std::string(Message(Engine::Create(std::make_unique<FakeModel>(), options).status()));
  };
  CHECK(message({.max_sequences = 0}).starts_with("max_sequences:"));
  CHECK(message({.max_sequences = 9, .token_budget = 8}).starts_with("token_budget:"));
  CHECK(message({.max_waiting = 0}).starts_with("max_waiting:"));
  CHECK(message({.kv_bytes = 1}).starts_with("kv_bytes:"));
  CHECK(message({.kv_blocks = -1}).starts_with("kv_blocks:"));
  CHECK(message({.target_step = std::chrono::milliseconds(-1)}).starts_with("target_step_ms:"));
}

TEST_CASE("Engine cuts prefill chunks by measured time", "[engine]") {
  FakeClock* clock = nullptr;
  std::vector<int32_t> chunks;
  FakeModelOptions slow;
  slow.before_forward = [&](const StepBatch& batch) {
    chunks.push_back(batch.rows());
    clock->Advance(std::chrono::milliseconds(2) * batch.rows());
    return absl::OkStatus();
  };
  EngineFixture f({.token_budget = 512, .target_step = std::chrono::milliseconds(100)}, slow);
  clock = &f.clock();
  REQUIRE(f.Submit(f.Item(1, 600, {.temperature = 0.0F, .max_tokens = 1})).ok());
  f.RunUntilIdle();
  REQUIRE(chunks.size() > 5);
  CHECK(chunks[0] == 64);
  // A step that runs ahead is planned before the one before it was measured.
  for (size_t i = kStepsRunAhead ? 3 : 1; i < chunks.size(); ++i) CHECK(chunks[i] <= 50);
  CHECK(f.outcome(1).finish->prefill_time >= std::chrono::milliseconds(1200));
}

}  // namespace
}  // namespace weft::engine
