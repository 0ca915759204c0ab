// How a sequence ends: limits, end tokens, errors, cancels, deadlines, failed passes.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/engine_fixture.h"

namespace weft::engine {
namespace {

TEST_CASE("Engine ends at an end-of-sequence token unless told to ignore it", "[engine]") {
  FakeModelOptions eager;
  eager.eos_logit = 100.0F;
  EngineFixture f({}, eager);
  REQUIRE(f.Submit(f.Item(1, 5, {.temperature = 0.0F, .max_tokens = 8})).ok());
  SamplingParams ignore{.temperature = 0.0F, .max_tokens = 8, .ignore_eos = true};
  REQUIRE(f.Submit(f.Item(2, 5, ignore)).ok());
  SamplingParams later{.temperature = 0.0F, .max_tokens = 8, .min_tokens = 4};
  REQUIRE(f.Submit(f.Item(3, 5, later)).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(1).tokens == std::vector<int32_t>{2});
  CHECK(f.outcome(1).finish->reason == FinishReason::kStop);
  CHECK(f.outcome(2).tokens.size() == 8);
  CHECK(f.outcome(2).finish->reason == FinishReason::kLength);
  CHECK(f.outcome(3).tokens.size() == 5);
  CHECK(f.outcome(3).tokens.back() == 2);
  CHECK(f.outcome(3).finish->reason == FinishReason::kStop);
}

TEST_CASE("Engine takes the tokenizer's end-of-generation ids and stop ids as ends", "[engine]") {
  EngineFixture plain;
  REQUIRE(plain.Submit(plain.Item(1, 9, {.temperature = 0.0F, .max_tokens = 6})).ok());
  plain.RunUntilIdle();
  const std::vector<int32_t> tokens = plain.outcome(1).tokens;
  const auto first = std::find(tokens.begin(), tokens.end(), tokens[3]) - tokens.begin();

  EngineFixture f({.eos_ids = {tokens[3], -7, 100000}});
  REQUIRE(f.Submit(f.Item(1, 9, {.temperature = 0.0F, .max_tokens = 6})).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(1).tokens.size() == static_cast<size_t>(first) + 1);
  CHECK(f.outcome(1).finish->reason == FinishReason::kStop);

  SamplingParams stop{.temperature = 0.0F, .max_tokens = 6, .stop_token_ids = {tokens[3]}};
  REQUIRE(plain.Submit(plain.Item(2, 9, stop)).ok());
  plain.RunUntilIdle();
  // Item(2) has another prompt; the same prompt is what makes the same tokens.
  WorkItem same = plain.Item(1, 9, stop);
  same.id = 3;
  REQUIRE(plain.Submit(same).ok());
  plain.RunUntilIdle();
  CHECK(plain.outcome(3).tokens.size() == static_cast<size_t>(first) + 1);
}

TEST_CASE("Engine ends a sequence when the context or the whole KV cache is full", "[engine]") {
  FakeModelOptions small;
  small.context_length = 40;
  EngineFixture f({}, small);
  SamplingParams many{.temperature = 0.0F, .max_tokens = 1000, .ignore_eos = true};
  REQUIRE(f.Submit(f.Item(1, 30, many)).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(1).tokens.size() == 10);
  CHECK(f.outcome(1).finish->reason == FinishReason::kLength);

  EngineFixture g({.kv_blocks = 2});
  CHECK(g.engine().max_context_tokens() == 128);
  REQUIRE(g.Submit(g.Item(1, 100, many)).ok());
  g.RunUntilIdle();
  CHECK(g.outcome(1).tokens.size() == 28);
  CHECK(g.outcome(1).finish->reason == FinishReason::kLength);
}

TEST_CASE("Engine ends a bad item with an error that names the field", "[engine]") {
  EngineFixture f;
  const WorkItem good = f.Item(1, 10, {.temperature = 0.0F, .max_tokens = 4});
  std::map<std::string, WorkItem> bad;
  auto add = [&](const std::string& field) -> WorkItem& {
    return bad.emplace(field, good).first->second;
  };
  add("prompt:").prompt.clear();
  add("prompt[3]:").prompt[3] = 101;
  add("prompt[0]:").prompt[0] = -1;
  add("prompt: 2048").prompt.assign(2048, 1);
  add("output[0]:").output = {101};
  add("output: 5").output = {1, 3, 4, 5, 6};
  add("weight:").weight = 0.0;
  add("kv_salt:").kv_salt.assign(257, 'x');
  add("sampling.temperature:").sampling.temperature = 2.5F;
  add("sampling.top_p:").sampling.top_p = 0.0F;
  add("sampling.logit_bias[0]:").sampling.logit_bias = {{101, 1.0F}};
  add("sampling.stop_token_ids[0]:").sampling.stop_token_ids = {-1};
  add("sampling.top_logprobs:").sampling.top_logprobs = 21;
  uint64_t id = 100;
  REQUIRE(f.Submit(good).ok());
  for (auto& [field, item] : bad) {
    item.id = ++id;
    REQUIRE(f.Submit(item).ok());
  }
  f.RunUntilIdle();
  id = 100;
  for (const auto& [field, item] : bad) {
    const Outcome& o = f.outcome(++id);
    INFO(field << " " << ToString(o.finish->error));
    CHECK(o.finish->reason == FinishReason::kError);
    CHECK(Message(o.finish->error).substr(0, field.size()) == field);
    CHECK(o.tokens.empty());
  }
  CHECK(f.outcome(1).tokens.size() == 4);
}

TEST_CASE("Engine cancels within two steps and frees the blocks", "[engine]") {
  EngineFixture f({.max_sequences = 2, .kv_blocks = 32});
  SamplingParams many{.temperature = 0.0F, .max_tokens = 1000, .ignore_eos = true};
  for (uint64_t id = 1; id <= 4; ++id) REQUIRE(f.Submit(f.Item(id, 70, many)).ok());
  for (int i = 0; i < 5; ++i) f.StepOnce();
  const std::vector<uint64_t> ids = {1, 4, 99};
  f.engine().Cancel(ids);
  f.StepOnce();
  CHECK(f.outcome(1).finish->reason == FinishReason::kCancelled);
  CHECK(f.outcome(4).finish->reason == FinishReason::kCancelled);
  CHECK_FALSE(f.outcome(2).finish.has_value());
  f.engine().CancelAll();
  f.StepOnce();
  CHECK(f.outcome(2).finish->reason == FinishReason::kCancelled);
  CHECK(f.outcome(3).finish->reason == FinishReason::kCancelled);
  CHECK(f.engine().idle());
  CHECK(f.engine().stats().kv_blocks_free == 32);
}

TEST_CASE("Engine cancels an item in the step that would have taken it in", "[engine]") {
  EngineFixture f;
  REQUIRE(f.Submit(f.Item(1, 70, {.max_tokens = 5})).ok());
  f.engine().Cancel(1);
  f.StepOnce();
  CHECK(f.outcome(1).finish->reason == FinishReason::kCancelled);
  CHECK(f.outcome(1).starts == 0);
  CHECK(f.model().forwards() == 0);
}

TEST_CASE("Engine refuses an id that is in use, a full queue, and work after RefuseNew",
          "[engine]") {
  EngineFixture f({.max_sequences = 1, .max_waiting = 2, .max_waiting_per_key = 1});
  SamplingParams p{.temperature = 0.0F, .max_tokens = 3};
  REQUIRE(f.Submit(f.Item(1, 5, p)).ok());
  CHECK(f.engine().Submit(f.Item(1, 5, p)).code() == absl::StatusCode::kAlreadyExists);
  REQUIRE(f.Submit(f.Item(2, 5, p)).ok());
  CHECK(f.engine().Submit(f.Item(3, 5, p)).code() == absl::StatusCode::kResourceExhausted);
  f.StepOnce();
  // Both were of one share key, which may have one waiting.
  CHECK(f.outcome(2).finish->error.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(f.Submit(f.Item(3, 5, p)).ok());
  f.engine().RefuseNew();
  CHECK(f.engine().Submit(f.Item(4, 5, p)).code() == absl::StatusCode::kUnavailable);
  f.RunUntilIdle();
  CHECK(f.outcome(3).tokens.size() == 3);
  // The id is free again.
  CHECK(f.engine().idle());
}

TEST_CASE("Engine ends an item whose deadline passes, waiting or running", "[engine]") {
  EngineFixture f({.max_sequences = 1});
  SamplingParams many{.temperature = 0.0F, .max_tokens = 1000, .ignore_eos = true};
  for (uint64_t id : {1, 2}) {
    WorkItem item = f.Item(id, 20, many);
    item.deadline = f.clock().Now() + std::chrono::seconds(5);
    REQUIRE(f.Submit(item).ok());
  }
  f.StepOnce();
  f.clock().Advance(std::chrono::seconds(4));
  f.StepOnce();
  CHECK_FALSE(f.outcome(1).finish.has_value());
  f.clock().Advance(std::chrono::seconds(1));
  f.StepOnce();
  for (uint64_t id : {1, 2}) {
    CHECK(f.outcome(id).finish->reason == FinishReason::kError);
    CHECK(f.outcome(id).finish->error.code() == absl::StatusCode::kDeadlineExceeded);
  }
  // With steps that run ahead the second token was on its way, and is dropped.
  CHECK(f.outcome(1).tokens.size() == (kStepsRunAhead ? 1 : 2));
  CHECK(f.engine().idle());
}

TEST_CASE("Engine isolates the sequence whose forward pass fails", "[engine]") {
  if (kStepsRunAhead) return;  // after an error of a device there is no other step
  std::vector<int32_t> undisturbed;
  {
    EngineFixture f;
    REQUIRE(f.Submit(f.Item(1, 40, {.temperature = 0.0F, .max_tokens = 9})).ok());
    f.RunUntilIdle();
    undisturbed = f.outcome(1).tokens;
  }
  FakeModelOptions faulty;
  faulty.before_forward = [](const StepBatch& batch) -> absl::Status {
    for (int32_t token : batch.tokens) {
      if (token == 100) return Internal("the test's fault");
    }
    return absl::OkStatus();
  };
  EngineFixture f({.kv_blocks = 32}, faulty);
  WorkItem poison = f.Item(2, 40, {.temperature = 0.0F, .max_tokens = 9});
  poison.prompt[20] = 100;
  REQUIRE(f.Submit(f.Item(1, 40, {.temperature = 0.0F, .max_tokens = 9})).ok());
  REQUIRE(f.Submit(poison).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(2).finish->reason == FinishReason::kError);
  CHECK(f.outcome(2).finish->error == Internal("forward: the test's fault"));
  // The undisturbed sequence may itself meet token 100; then it stops there with the same error.
  const auto hit = std::find(undisturbed.begin(), undisturbed.end(), 100);
  if (hit == undisturbed.end()) CHECK(f.outcome(1).tokens == undisturbed);
  CHECK(f.engine().stats().failures >= 2);
  CHECK(f.engine().stats().kv_blocks_free == 32);
  // It survives: the next one runs.
  REQUIRE(f.Submit(f.Item(3, 10, {.temperature = 0.0F, .max_tokens = 1})).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(3).tokens.size() == 1);
}

TEST_CASE("Engine says that a device is gone whose step fails, and nothing of its sequences",
          "[engine]") {
  if (!kStepsRunAhead) return;
  int forwards = 0;
  FakeModelOptions faulty;
  faulty.before_forward = [&](const StepBatch&) {
    return ++forwards > 3 ? Internal("the test's fault") : absl::OkStatus();
  };
  faulty.health_when_it_fails = Unavailable("the device is gone");
  EngineFixture f({}, faulty);
  for (uint64_t id : {1, 2}) {
    REQUIRE(f.Submit(f.Item(id, 10, {.temperature = 0.0F, .max_tokens = 100})).ok());
  }
  for (int i = 0; i < 10 && f.last().model_gone.ok(); ++i) f.StepOnce();
  CHECK(f.last().model_gone == faulty.health_when_it_fails);
  CHECK(f.last().rows.empty());
  CHECK_FALSE(f.outcome(1).finish.has_value());
  CHECK_FALSE(f.outcome(2).finish.has_value());
}

TEST_CASE("Engine drops the tokens of a step that ran ahead of a sequence's end", "[engine]") {
  // The stop token is known only once the next step is on its way.
  EngineFixture f;
  WorkItem item = f.Item(1, 10, {.temperature = 0.0F, .max_tokens = 50, .ignore_eos = true});
  const std::vector<int32_t> plain = PlainLoop(item);
  REQUIRE(plain.size() > 4);
  item.sampling.stop_token_ids = {plain[3]};
  const size_t first =
      static_cast<size_t>(std::find(plain.begin(), plain.end(), plain[3]) - plain.begin());
  REQUIRE(f.Submit(item).ok());
  f.RunUntilIdle();
  CHECK(f.outcome(1).finish->reason == FinishReason::kStop);
  CHECK(f.outcome(1).tokens.size() == first + 1);
  // The same id again, while that step may still be on its way.
  item.sampling.stop_token_ids.clear();
  item.sampling.max_tokens = 5;
  REQUIRE(f.engine().Submit(item).ok());
  std::vector<int32_t> tokens;
  while (!f.engine().idle()) {
    for (const StepOutput out = f.engine().Step(); const StepRow& row : out.rows) {
      for (const int32_t token : out.Tokens(row)) tokens.push_back(token);
    }
  }
  CHECK(tokens == std::vector<int32_t>(plain.begin(), plain.begin() + 5));
}

}  // namespace
}  // namespace weft::engine
