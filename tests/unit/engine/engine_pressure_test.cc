// More work than fits: preemption and fair shares.
#include <map>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

TEST_CASE("Engine preempts when blocks run out and everybody still gets the same tokens",
          "[engine]") {
  std::map<uint64_t, std::vector<int32_t>> alone;
  SamplingParams p{.temperature = 0.9F, .max_tokens = 150, .ignore_eos = true, .seed = 5};
  for (uint64_t id = 1; id <= 4; ++id) {
    EngineFixture f;
    REQUIRE(f.Submit(f.Item(id, 50, p)).ok());
    f.RunUntilIdle();
    alone[id] = f.outcome(id).tokens;
  }
  for (bool prefix_cache : {false, true}) {
    EngineFixture f({.max_sequences = 4, .kv_blocks = 8, .prefix_cache = prefix_cache});
    for (uint64_t id = 1; id <= 4; ++id) REQUIRE(f.Submit(f.Item(id, 50, p)).ok());
    f.RunUntilIdle();
    CHECK(f.engine().stats().preemptions > 0);
    for (uint64_t id = 1; id <= 4; ++id) {
      CHECK(f.outcome(id).tokens == alone[id]);
      CHECK(f.outcome(id).starts == 1);
    }
    // Nobody overtakes the first one admitted.
    CHECK(f.outcome(1).finish->preemptions == 0);
    CHECK(f.engine().stats().kv_blocks_free == 8);
  }
}

TEST_CASE("Engine shares a busy machine by weight", "[engine]") {
  EngineFixture f({.max_sequences = 2, .prefix_cache = false});
  SamplingParams p{.temperature = 0.0F, .max_tokens = 20, .ignore_eos = true};
  for (uint64_t id = 1; id <= 120; ++id) {
    WorkItem item = f.Item(id, 20, p);
    item.share_key = id % 2;
    item.weight = id % 2 == 0 ? 3.0 : 1.0;
    REQUIRE(f.Submit(item).ok());
  }
  size_t heavy = 0;
  size_t light = 0;
  while (heavy + light < 40) {
    f.StepOnce();
    heavy = light = 0;
    for (uint64_t id = 1; id <= 120; ++id) {
      if (f.outcome(id).finish.has_value()) ++(id % 2 == 0 ? heavy : light);
    }
  }
  CHECK(heavy >= 28);
  CHECK(light >= 8);
}

}  // namespace
}  // namespace weft::engine
