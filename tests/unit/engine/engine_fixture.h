// An engine over the fake model, and a book of everything it put out. The book checks the rules
// that every output must keep: indexes without gaps, one finish, nothing after it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/engine/engine.h"
#include "libs/sampling/sampler.h"
#include "tests/support/catch.h"
#include "tests/support/fake_model.h"

namespace weft::engine {

// The cases are compiled twice: for a model whose steps the engine waits for, and for one with
// DeviceSteps.
#ifdef WEFT_STEPS_AHEAD
inline constexpr bool kStepsRunAhead = true;
#else
inline constexpr bool kStepsRunAhead = false;
#endif

struct Outcome {
  std::vector<int32_t> tokens;  // made here
  std::vector<TokenLogprob> logprobs;
  std::vector<TokenLogprob> prompt_logprobs;
  size_t first_index = 0;
  int starts = 0;
  std::optional<StepFinish> finish;
};

class OutputBook {
 public:
  // `given` is the number of output tokens that came with the item.
  void Expect(uint64_t id, size_t given) { outcomes_[id].first_index = given; }
  void Add(const StepOutput& out) {
    for (const StepStart& start : out.starts) ++outcomes_[start.id].starts;
    for (const PromptRow& row : out.prompt_rows) {
      Outcome& o = outcomes_[row.id];
      REQUIRE_FALSE(o.finish.has_value());
      REQUIRE(o.tokens.empty());
      REQUIRE(row.first_position == o.prompt_logprobs.size() + 1);
      for (const TokenLogprob& logprob : out.Logprobs(row)) o.prompt_logprobs.push_back(logprob);
    }
    for (const StepRow& row : out.rows) {
      Outcome& o = outcomes_[row.id];
      REQUIRE_FALSE(o.finish.has_value());
      REQUIRE(o.starts == 1);
      REQUIRE(row.first_index == o.first_index + o.tokens.size());
      for (int32_t token : out.Tokens(row)) o.tokens.push_back(token);
      for (const TokenLogprob& logprob : out.Logprobs(row)) o.logprobs.push_back(logprob);
    }
    for (const StepFinish& finish : out.finishes) {
      Outcome& o = outcomes_[finish.id];
      REQUIRE_FALSE(o.finish.has_value());
      REQUIRE(finish.error.ok() == (finish.reason != FinishReason::kError));
      o.finish = finish;
    }
  }
  Outcome& operator[](uint64_t id) { return outcomes_[id]; }

 private:
  std::map<uint64_t, Outcome> outcomes_;
};

class EngineFixture {
 public:
  explicit EngineFixture(EngineOptions options = {}, FakeModelOptions model = {}) {
    model.ahead = kStepsRunAhead;
    auto runner = std::make_unique<FakeModel>(std::move(model));
    model_ = runner.get();
    auto engine = Engine::Create(std::move(runner), options, clock_);
    REQUIRE(engine.ok());
    engine_ = *std::move(engine);
  }

  Engine& engine() { return *engine_; }
  FakeModel& model() { return *model_; }
  FakeClock& clock() { return clock_; }
  Outcome& outcome(uint64_t id) { return book_[id]; }
  const StepOutput& last() const { return last_; }

  // A prompt that depends on the id and the length only.
  static WorkItem Item(uint64_t id, int prompt_tokens, SamplingParams sampling) {
    std::mt19937_64 random(id);
    WorkItem item;
    item.id = id;
    item.sampling = std::move(sampling);
    for (int i = 0; i < prompt_tokens; ++i) {
      item.prompt.push_back(3 + static_cast<int32_t>(random() % 90));
    }
    return item;
  }

  // Prompts with common beginnings, and a different mix of sampling parameters for each id.
  static WorkItem MixedItem(uint64_t id) {
    SamplingParams p{.max_tokens = 5 + static_cast<uint32_t>(id * 7 % 40), .seed = id * 1000003};
    p.temperature = id % 3 == 0 ? 0.0F : 0.7F + 0.1F * static_cast<float>(id % 5);
    if (id % 2 == 0) p.top_k = 20;
    if (id % 4 == 1) p.top_p = 0.8F;
    if (id % 5 == 2) p.min_p = 0.05F;
    if (id % 3 == 1) p.repetition_penalty = 1.3F;
    if (id % 4 == 2) p.presence_penalty = 0.6F;
    if (id % 4 == 3) p.frequency_penalty = 0.4F;
    if (id % 5 == 0) p.min_tokens = 3;
    if (id % 5 == 4) p.logprobs = p.prompt_logprobs = true;
    if (id % 6 == 0) p.logit_bias = {{7, 2.0F}, {2, -3.0F}};
    WorkItem item = Item(1 + id % 3, 40 + static_cast<int>(id * 31 % 200), std::move(p));
    item.id = id;
    item.choice = static_cast<uint32_t>(id % 2);
    item.share_key = id % 4;
    item.priority = id % 7 == 0 ? 1 : 0;
    return item;
  }

  absl::Status Submit(WorkItem item) {
    book_.Expect(item.id, item.output.size());
    return engine_->Submit(std::move(item));
  }

  void StepOnce() {
    engine_->Step(&last_);
    book_.Add(last_);
  }
  void RunUntilIdle() {
    for (int i = 0; !engine_->idle(); ++i) {
      REQUIRE(i < 100000);
      StepOnce();
    }
  }

 private:
  FakeClock clock_;
  FakeModel* model_ = nullptr;
  std::unique_ptr<Engine> engine_;
  OutputBook book_;
  StepOutput last_;
};

// What an item says, from the definition: the whole context through the model for every token.
inline std::vector<int32_t> PlainLoop(const WorkItem& item) {
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

}  // namespace weft::engine
