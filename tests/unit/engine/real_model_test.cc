// The default model: what a sequence says does not depend on its company, the chunks, the cache,
// preemption or a change of worker.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/bench.h"
#include "libs/engine/engine.h"
#include "libs/engine/generate.h"
#include "libs/model/model.h"
#include "tests/support/catch.h"

namespace weft::engine {
namespace {

std::string ModelPath() {
  if (const char* path = std::getenv("WEFT_MODEL")) return path;
  const char* home = std::getenv("WEFT_HOME");
  return std::string(home != nullptr ? home : ".weft") + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options) {
  INFO("the default model must be at " << ModelPath());
  REQUIRE(std::filesystem::exists(ModelPath()));
  auto model = Model::Load(ModelPath(), ModelOptions{});
  REQUIRE(model.ok());
  auto engine = Engine::Create(*std::move(model), options);
  REQUIRE(engine.ok());
  return *std::move(engine);
}

// Eight items: half greedy, half seeded; prompts of 5 to 190 tokens of which some share 128.
WorkItem Item(uint64_t id) {
  WorkItem item;
  item.id = id;
  const int length = std::vector<int>{190, 62, 126, 150, 64, 140, 5, 129}[id - 1];
  const bool shared = length > 128;
  for (int i = 0; i < length; ++i) {
    const int who = shared && i < 128 ? 0 : static_cast<int>(id);
    item.prompt.push_back(1000 + (i * 37 + who * 101 + i * i) % 40000);
  }
  SamplingParams& p = item.sampling;
  p.max_tokens = 12;
  p.ignore_eos = true;
  p.temperature = id % 2 == 0 ? 0.0F : 0.9F;
  p.seed = 7000 + id;
  if (id % 4 == 1) p.top_p = 0.9F;
  if (id % 4 == 3) p.top_k = 40;
  if (id % 3 == 0) p.repetition_penalty = 1.2F;
  p.logprobs = true;
  p.top_logprobs = 2;
  return item;
}

struct Said {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Said&) const = default;
};

std::map<uint64_t, Said> RunAll(Engine& engine, std::vector<WorkItem> items) {
  std::map<uint64_t, Said> said;
  for (WorkItem& item : items) REQUIRE(engine.Submit(std::move(item)).ok());
  while (!engine.idle()) {
    const StepOutput out = engine.Step();
    for (const StepRow& row : out.rows) {
      for (int32_t token : out.Tokens(row)) said[row.id].tokens.push_back(token);
      for (const TokenLogprob& logprob : out.Logprobs(row)) {
        said[row.id].logprobs.push_back(logprob.logprob);
        for (float top : logprob.top_logprobs) said[row.id].logprobs.push_back(top);
      }
    }
    for (const StepFinish& finish : out.finishes) REQUIRE(finish.error.ok());
  }
  return said;
}

TEST_CASE(
    "The default model says the same alone, in a batch, in chunks, from the cache, after "
    "preemption and when resumed",
    "[engine][model]") {
  std::map<uint64_t, Said> alone;
  {
    auto engine = MakeEngine({.max_sequences = 1, .kv_blocks = 16, .prefix_cache = false});
    for (uint64_t id = 1; id <= 8; ++id) alone.merge(RunAll(*engine, {Item(id)}));
  }
  REQUIRE(alone.size() == 8);
  std::vector<WorkItem> all;
  for (uint64_t id = 1; id <= 8; ++id) {
    CHECK(alone[id].tokens.size() == 12);
    all.push_back(Item(id));
  }
  SECTION("one batch, whole prompts, no prefix cache") {
    auto engine = MakeEngine({.max_sequences = 8,
                              .token_budget = 1024,
                              .kv_blocks = 64,
                              .prefix_cache = false,
                              .target_step = std::chrono::milliseconds(0)});
    CHECK(RunAll(*engine, all) == alone);
  }
  SECTION("chunks that cross blocks, with the prefix cache, twice") {
    auto engine = MakeEngine({.max_sequences = 8, .token_budget = 50, .kv_blocks = 64});
    CHECK(RunAll(*engine, all) == alone);
    CHECK(RunAll(*engine, all) == alone);
    CHECK(engine->stats().prefix_hit_tokens > 128 * 4);
    CHECK(engine->stats().kv_blocks_free == 64);
  }
  SECTION("so few blocks that sequences are preempted") {
    // No time target: on a slow machine small chunks would let one sequence end before the next
    // grows.
    auto engine = MakeEngine({.max_sequences = 8,
                              .token_budget = 64,
                              .kv_blocks = 7,
                              .target_step = std::chrono::milliseconds(0)});
    for (WorkItem& item : all) item.kv_salt = std::to_string(item.id);  // nothing to share
    CHECK(RunAll(*engine, all) == alone);
    CHECK(engine->stats().preemptions > 0);
    CHECK(engine->stats().kv_blocks_free == 7);
  }
  SECTION("another worker takes over after five tokens") {
    auto engine = MakeEngine({.max_sequences = 8, .token_budget = 96, .kv_blocks = 64});
    for (WorkItem& item : all) {
      const auto& tokens = alone[item.id].tokens;
      item.output.assign(tokens.begin(), tokens.begin() + 5);
    }
    const auto rest = RunAll(*engine, all);
    for (uint64_t id = 1; id <= 8; ++id) {
      CHECK(rest.at(id).tokens ==
            std::vector<int32_t>(alone[id].tokens.begin() + 5, alone[id].tokens.end()));
    }
  }
}

TEST_CASE("Generate calls back for each token and can be stopped", "[engine][model]") {
  auto engine = MakeEngine({.max_sequences = 1, .kv_blocks = 8});
  WorkItem item = Item(2);
  std::vector<int32_t> heard;
  auto listen = [&](int32_t token) {
    heard.push_back(token);
    return true;
  };
  auto result = Generate(*engine, item, listen);
  REQUIRE(result.ok());
  CHECK(result->tokens == heard);
  CHECK(result->tokens.size() == 12);
  CHECK(result->reason == FinishReason::kLength);
  CHECK(result->prompt_tokens == 62);
  CHECK(result->decode_seconds > 0.0);

  result = Generate(*engine, item, [](int32_t) { return false; });
  REQUIRE(result.ok());
  CHECK(result->reason == FinishReason::kCancelled);
  CHECK(result->tokens.size() <= 2);
  item.prompt.clear();
  CHECK(Message(Generate(*engine, item, nullptr).status()).starts_with("prompt:"));
}

TEST_CASE("RunBench measures prefill, decode and batches, and names a bad option",
          "[engine][model]") {
  BenchOptions options;
  options.prefill = 40;
  options.decode = 6;
  options.batches = {1, 3};
  options.threads = 1;
  options.repetitions = 1;
  const auto result = RunBench(ModelPath(), options);
  REQUIRE(result.ok());
  CHECK(result->prefill_tok_s > 0.0);
  CHECK(result->decode_tok_s > 0.0);
  REQUIRE(result->batch.size() == 2);
  CHECK(result->batch[0].n == 1);
  CHECK(result->batch[1].n == 3);
  CHECK(result->batch[1].tok_s > 0.0);
  CHECK(result->threads == 1);
  CHECK(result->peak_rss_bytes > (50U << 20));
  options.decode = 1;
  CHECK(Message(RunBench(ModelPath(), options).status()).starts_with("decode:"));
  options.decode = 100000;
  CHECK(Message(RunBench(ModelPath(), options).status()).starts_with("decode:"));
  CHECK_FALSE(RunBench("/nonexistent.gguf", BenchOptions{}).ok());
}

}  // namespace
}  // namespace weft::engine
