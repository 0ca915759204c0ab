// Prompts that begin alike are computed once, and schedulers hear of it.
#include <set>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

TEST_CASE("Engine reuses a cached prefix of the same salt only", "[engine]") {
  EngineFixture f;
  SamplingParams p{.temperature = 0.0F, .max_tokens = 2};
  auto submit = [&](uint64_t id, const std::string& salt) {
    WorkItem item = f.Item(1, 200, p);
    item.id = id;
    item.kv_salt = salt;
    REQUIRE(f.Submit(item).ok());
    f.RunUntilIdle();
  };
  submit(1, "a");
  submit(2, "a");
  submit(3, "b");
  CHECK(f.outcome(1).finish->cached_prompt_tokens == 0);
  CHECK(f.outcome(2).finish->cached_prompt_tokens == 192);
  CHECK(f.outcome(3).finish->cached_prompt_tokens == 0);
  CHECK(f.outcome(2).tokens == f.outcome(1).tokens);
  CHECK(f.outcome(3).tokens == f.outcome(1).tokens);
  CHECK(f.engine().stats().prefix_hit_tokens == 192);
}

TEST_CASE("Engine computes a prompt once for choices that arrive together", "[engine]") {
  for (bool prefix_cache : {true, false}) {
    EngineFixture f({.token_budget = 100, .prefix_cache = prefix_cache});
    uint64_t rows = 0;
    for (uint64_t id = 1; id <= 4; ++id) {
      WorkItem item = f.Item(1, 400, {.temperature = 1.0F, .max_tokens = 5, .seed = 9});
      item.id = id;
      item.choice = static_cast<uint32_t>(id);
      REQUIRE(f.Submit(item).ok());
    }
    while (!f.engine().idle()) {
      f.StepOnce();
      rows += f.last().prefill_rows;
    }
    // 384 of the 400 tokens are in full blocks: the other choices compute 16 each.
    if (prefix_cache) CHECK(rows == 400 + 3 * 16);
    if (!prefix_cache) CHECK(rows == 4 * 400);
    for (uint64_t id = 1; id <= 4; ++id) {
      WorkItem item = f.Item(1, 400, {.temperature = 1.0F, .max_tokens = 5, .seed = 9});
      item.choice = static_cast<uint32_t>(id);
      CHECK(f.outcome(id).tokens == PlainLoop(item));
    }
  }
}

TEST_CASE("Engine lets prompts with a common beginning follow the first of them", "[engine]") {
  for (const bool cancel_first : {false, true}) {
    // Room for both prompts in one step: the second waits all the same.
    EngineFixture f({.token_budget = 1024, .target_step = std::chrono::milliseconds(0)});
    const SamplingParams p{.temperature = 0.0F, .max_tokens = 4};
    const WorkItem first = f.Item(1, 700, p);
    WorkItem second = f.Item(1, 300, p);
    second.id = 2;
    second.prompt.resize(420, 7);
    WorkItem salted = second;
    salted.id = 3;
    salted.kv_salt = "another tenant";
    for (const WorkItem& item : {first, second, salted}) REQUIRE(f.Submit(item).ok());
    if (cancel_first) {
      f.StepOnce();
      f.engine().Cancel(1);
    }
    uint64_t rows = f.last().prefill_rows;
    while (!f.engine().idle()) {
      f.StepOnce();
      rows += f.last().prefill_rows;
    }
    CHECK(rows == 700 + (420 - 256) + 420);  // 256 of the common 300 are in full blocks
    CHECK(f.outcome(2).tokens == PlainLoop(second));
    CHECK(f.outcome(2).finish->cached_prompt_tokens == 256);
    CHECK(f.outcome(3).tokens == PlainLoop(second));
    CHECK(f.outcome(3).finish->cached_prompt_tokens == 0);
  }
}

TEST_CASE("Engine always recomputes the last token of a prompt that is cached whole", "[engine]") {
  EngineFixture f;
  SamplingParams p{.temperature = 0.0F, .max_tokens = 1};
  for (uint64_t id : {1, 2}) {
    WorkItem item = f.Item(1, 128, p);
    item.id = id;
    REQUIRE(f.Submit(item).ok());
    f.RunUntilIdle();
  }
  CHECK(f.outcome(2).finish->cached_prompt_tokens == 64);
  CHECK(f.outcome(2).tokens == f.outcome(1).tokens);
}

TEST_CASE("Engine numbers KV events without gaps and snapshots agree with them", "[engine]") {
  EngineFixture f({.max_sequences = 4, .kv_blocks = 12});
  for (uint64_t id = 1; id <= 30; ++id) {
    REQUIRE(f.Submit(f.Item(id, 65 + static_cast<int>(id) * 9, {.max_tokens = 70})).ok());
  }
  std::set<kv::PrefixKey> keys;
  uint64_t number = 0;
  while (!f.engine().idle()) {
    f.engine().RequestKvSnapshot();
    f.StepOnce();
    const StepOutput& out = f.last();
    if (!out.kv_events.empty()) CHECK(out.kv_events.number == number + 1);
    number = out.kv_events.number;
    for (const kv::PrefixKey& key : out.kv_events.removed) CHECK(keys.erase(key) == 1);
    for (const kv::PrefixKey& key : out.kv_events.stored) CHECK(keys.insert(key).second);
    REQUIRE(out.kv_snapshot.has_value());
    CHECK(out.kv_snapshot->number == number);
    CHECK(out.kv_snapshot->keys == std::vector<kv::PrefixKey>(keys.begin(), keys.end()));
  }
  CHECK(f.engine().stats().evictions > 0);
  CHECK(number > 10);
  f.StepOnce();
  CHECK_FALSE(f.last().kv_snapshot.has_value());  // only when asked
}

}  // namespace
}  // namespace weft::engine
