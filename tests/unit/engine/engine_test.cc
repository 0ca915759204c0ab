#include "libs/engine/engine.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "libs/base/status.h"
#include "libs/sampling/sampler.h"
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

// What an item says, from the definition: the whole context through the model for every token.
std::vector<int32_t> PlainLoop(const WorkItem& item) {
  FakeModel model;
  REQUIRE(model.AllocateKv(32, kBlockTokens).ok());
  sampling::Sampler sampler(model.config().vocab);
  std::vector<int32_t> table(32);
  std::iota(table.begin(), table.end(), 0);
  std::vector<int32_t> output;
  std::vector<float> logits(static_cast<size_t>(model.config().vocab));
  while (output.size() < item.sampling.max_tokens &&
         (output.empty() || output.back() != model.config().eos_ids[0])) {
    std::vector<int32_t> tokens = item.prompt;
    tokens.insert(tokens.end(), output.begin(), output.end());
    const auto n = static_cast<int32_t>(tokens.size());
    StepBatch batch;
    batch.tokens = tokens;
    batch.positions.resize(tokens.size());
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.cache_slots = batch.positions;
    batch.wants_logits.assign(tokens.size(), 0);
    batch.wants_logits.back() = 1;
    batch.sequences.push_back({.first_row = 0,
                               .rows = n,
                               .block_table = table.data(),
                               .blocks = 32,
                               .context_tokens = n});
    REQUIRE(model.Forward(batch, logits).ok());
    auto sample = sampler.Choose({.logits = logits,
                                  .params = &item.sampling,
                                  .prompt = item.prompt,
                                  .output = output,
                                  .choice = item.choice,
                                  .eos_ids = model.config().eos_ids});
    REQUIRE(sample.ok());
    output.push_back(sample->token);
  }
  return output;
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
  CHECK(f.outcome(1).tokens.size() == 2);
  CHECK(f.engine().idle());
}

TEST_CASE("Engine isolates the sequence whose forward pass fails", "[engine]") {
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
  for (size_t i = 1; i < chunks.size(); ++i) CHECK(chunks[i] <= 50);
  CHECK(f.outcome(1).finish->prefill_time >= std::chrono::milliseconds(1200));
}

}  // namespace
}  // namespace weft::engine
