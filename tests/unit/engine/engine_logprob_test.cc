// Log probabilities of output and prompt tokens.
#include <algorithm>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

TEST_CASE("Engine computes only the prompt when no token is asked for", "[engine]") {
  EngineFixture f;
  REQUIRE(f.Submit(f.Item(1, 130, {.temperature = 0.0F, .max_tokens = 0})).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(1).tokens.empty());
  CHECK(f.outcome(1).finish->reason == FinishReason::kLength);
  CHECK(f.outcome(1).starts == 1);
  // What it computed serves the next one.
  WorkItem again = f.Item(1, 130, {.temperature = 0.0F, .max_tokens = 1});
  again.id = 2;
  REQUIRE(f.Submit(again).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(2).finish->cached_prompt_tokens == 128);
}

TEST_CASE("Engine reports each prompt token's log probability once, in bounded batches",
          "[engine]") {
  int32_t most_logits = 0;
  FakeModelOptions model;
  model.vocab = 60'000;  // 69 rows of logits are 16 MB
  model.before_forward = [&](const StepBatch& batch) {
    most_logits = std::max(most_logits,
                           static_cast<int32_t>(std::count(batch.wants_logits.begin(),
                                                           batch.wants_logits.end(), uint8_t{1})));
    return absl::OkStatus();
  };
  SamplingParams p{.temperature = 0.0F, .max_tokens = 3, .logprobs = true, .top_logprobs = 1};
  p.prompt_logprobs = true;
  std::vector<TokenLogprob> one_by_one;
  const WorkItem item = EngineFixture::Item(1, 150, p);
  for (const int32_t budget : {1, 512}) {
    EngineFixture f({.max_sequences = budget == 1 ? 1 : 4,
                     .token_budget = budget,
                     .target_step = std::chrono::milliseconds(0)},
                    model);
    // A cached prompt gives no logits, so it is computed again.
    for (uint64_t id : {1, 2, 3}) {
      WorkItem same = item;
      same.id = id;
      REQUIRE(f.Submit(same).ok());
      if (id == 1) f.RunUntilIdle();
    }
    f.RunUntilIdle();
    for (uint64_t id : {1, 2, 3}) {
      const std::vector<TokenLogprob>& got = f.outcome(id).prompt_logprobs;
      REQUIRE(got.size() == 149);
      for (size_t i = 0; i < got.size(); ++i) {
        CHECK(got[i].token == item.prompt[i + 1]);
        CHECK(got[i].logprob <= got[i].top_logprobs.at(0));
        if (!one_by_one.empty()) CHECK(got[i].logprob == one_by_one[i].logprob);
      }
      CHECK(f.outcome(id).tokens.size() == 3);
      if (one_by_one.empty()) one_by_one = got;
    }
  }
  CHECK(most_logits <= 69 + 4);
}

TEST_CASE("Engine reports log probabilities for the rows that asked", "[engine]") {
  EngineFixture f;
  SamplingParams with{.temperature = 0.0F, .max_tokens = 3, .logprobs = true, .top_logprobs = 2};
  REQUIRE(f.Submit(f.Item(1, 5, with)).ok());
  REQUIRE(f.Submit(f.Item(2, 5, {.temperature = 0.0F, .max_tokens = 3})).ok());
  f.RunUntilIdle();
  REQUIRE(f.outcome(1).logprobs.size() == 3);
  CHECK(f.outcome(2).logprobs.empty());
  for (size_t i = 0; i < 3; ++i) {
    const TokenLogprob& logprob = f.outcome(1).logprobs[i];
    CHECK(logprob.token == f.outcome(1).tokens[i]);
    REQUIRE(logprob.top_ids.size() == 2);
    CHECK(logprob.top_ids[0] == logprob.token);  // greedy: the chosen one is the best
    CHECK(logprob.top_logprobs[0] == logprob.logprob);
  }
}

}  // namespace
}  // namespace weft::engine
