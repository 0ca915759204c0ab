// A context of 32K tokens through a small random model, real kernels and pages.
#include <map>
#include <memory>
#include <vector>

#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "libs/gguf/gguf.h"
#include "libs/kv/kv_cache.h"
#include "libs/model/model.h"
#include "tests/support/catch.h"
#include "tests/unit/model/tiny_model.h"

namespace weft::engine {
namespace {

constexpr int32_t kContext = 32768;
constexpr uint32_t kOutput = 8;

std::unique_ptr<Engine> MakeEngine(DType kv_type, int32_t token_budget) {
  test::TinyModel tiny;
  tiny.type = DType::kQ8_0;
  tiny.layers = 1;
  tiny.heads = 2;
  tiny.kv_heads = 1;
  tiny.head_dim = 16;
  tiny.hidden = tiny.ffn = 64;
  tiny.context = kContext;
  auto model =
      Model::Load(GgufFile::FromBytes(tiny.Bytes()).value(), {.threads = 2, .kv_type = kv_type});
  REQUIRE(model.ok());
  EngineOptions options;
  options.max_sequences = 2;
  options.token_budget = token_budget;
  options.kv_blocks = kv::KvCache::BlocksFor(kContext) + 4;
  options.target_step = std::chrono::milliseconds(0);
  auto engine = Engine::Create(*std::move(model), options);
  REQUIRE(engine.ok());
  return *std::move(engine);
}

WorkItem Item(uint64_t id, int32_t prompt) {
  WorkItem item;
  item.id = id;
  for (int32_t i = 0; i < prompt; ++i) item.prompt.push_back((i * 37 + i / 64 * 101) % 300);
  item.sampling.temperature = 0.8F;
  item.sampling.seed = 5;
  item.sampling.max_tokens = kOutput;
  item.sampling.ignore_eos = true;
  item.sampling.logprobs = true;
  return item;
}

struct Said {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  uint32_t prefill_rows = 0;
  StepFinish finish;
};

Said Run(Engine& engine, WorkItem item) {
  REQUIRE(engine.Submit(std::move(item)).ok());
  Said said;
  while (!engine.idle()) {
    const StepOutput out = engine.Step();
    said.prefill_rows += out.prefill_rows;
    for (const StepRow& row : out.rows) {
      for (const int32_t token : out.Tokens(row)) said.tokens.push_back(token);
      for (const TokenLogprob& logprob : out.Logprobs(row)) {
        said.logprobs.push_back(logprob.logprob);
      }
    }
    for (const StepFinish& finish : out.finishes) said.finish = finish;
  }
  return said;
}

TEST_CASE("Engine fills a context of 32K tokens, the same whatever the chunks", "[engine][long]") {
  const DType kv_type = GENERATE(DType::kF16, DType::kQ8_0);
  const auto engine = MakeEngine(kv_type, 4096);
  REQUIRE(engine->max_context_tokens() == kContext);
  const int32_t prompt = kContext - static_cast<int32_t>(kOutput);
  const Said whole = Run(*engine, Item(1, prompt));
  REQUIRE(whole.finish.reason == FinishReason::kLength);
  REQUIRE(whole.tokens.size() == kOutput);
  REQUIRE(whole.prefill_rows == static_cast<uint32_t>(prompt));

  const Said chunks = Run(*MakeEngine(kv_type, 448), Item(1, prompt));
  REQUIRE(chunks.tokens == whole.tokens);
  REQUIRE(chunks.logprobs == whole.logprobs);

  // Everything but the last token and the block that it is in comes from the cache.
  const Said again = Run(*engine, Item(2, prompt));
  REQUIRE(again.tokens == whole.tokens);
  REQUIRE(again.logprobs == whole.logprobs);
  REQUIRE(again.finish.cached_prompt_tokens == static_cast<uint32_t>((prompt - 1) / 64 * 64));
  REQUIRE(again.prefill_rows == static_cast<uint32_t>(prompt) - again.finish.cached_prompt_tokens);
  const EngineStats stats = engine->stats();
  REQUIRE(stats.prefix_query_tokens >= stats.prefix_hit_tokens);
  REQUIRE(stats.prefix_hit_tokens == again.finish.cached_prompt_tokens);

  // One token more than fits is an error; what fits ends when the context is full.
  const Said refused = Run(*engine, Item(3, kContext + 1));
  REQUIRE(refused.finish.reason == FinishReason::kError);
  REQUIRE(Message(refused.finish.error).find("prompt") != std::string::npos);
  const Said full = Run(*engine, Item(4, kContext - 2));
  REQUIRE(full.finish.reason == FinishReason::kLength);
  REQUIRE(full.tokens.size() == 2);
}

}  // namespace
}  // namespace weft::engine
