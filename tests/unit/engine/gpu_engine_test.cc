// The engine over a model on the GPU's kernels, which the emulator runs: steps run ahead, tokens
// are chosen on the device. tests/gpu runs the same cases on a GPU.
#include <map>
#include <random>

#include "libs/engine/engine.h"
#include "libs/gguf/gguf.h"
#include "libs/ops/op_device.h"
#include "libs/sampling/sampler.h"
#include "tests/support/catch.h"
#include "tests/unit/model/gpu_rig.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft::engine {
namespace {

// Small: the emulator runs a thousand threads' instructions for a number.
std::shared_ptr<const GgufFile> TinyFile() {
  test::TinyModel tiny;
  tiny.type = DType::kQ8_0;
  tiny.layers = 1, tiny.hidden = 32, tiny.ffn = 32, tiny.heads = 2, tiny.kv_heads = 1;
  tiny.head_dim = 16, tiny.vocab = 70, tiny.context = 1200;
  static const auto file = GgufFile::FromBytes(tiny.Bytes()).value();
  return file;
}

std::unique_ptr<Model> TinyOnGpu(bool graphs = true, std::shared_ptr<OpDevice>* device = nullptr) {
  ModelOptions options = test::OnGpu();
  options.graphs = graphs;
  if (device != nullptr) *device = options.device;
  auto model = Model::Load(TinyFile(), options);
  REQUIRE(model.ok());
  return *std::move(model);
}

struct Result {
  std::vector<int32_t> tokens;
  std::vector<TokenLogprob> logprobs, prompt_logprobs;
  FinishReason reason = FinishReason::kError;
  uint32_t preemptions = 0;
  uint32_t cached = 0;
};

// From the definition: every token by the model's own logits, which are brought to the host.
Result Plainly(const WorkItem& item) {
  static const std::unique_ptr<Model> model = TinyOnGpu();
  const ModelConfig& config = model->config();
  sampling::Sampler sampler(config.vocab);
  test::SequenceRunner runner(*model, 1, 640);
  Result result;
  const auto vocab = static_cast<size_t>(config.vocab);
  const SamplingParams& p = item.sampling;
  std::vector<int32_t> next = item.prompt;
  while (result.tokens.size() < p.max_tokens) {
    std::vector<float> logits;
    for (size_t first = 0; first < next.size(); first += 96) {
      const auto from = next.begin() + static_cast<int64_t>(first);
      runner.Add(0, {from, from + static_cast<int64_t>(std::min<size_t>(96, next.size() - first))});
      const std::vector<float> more = runner.Step();
      logits.insert(logits.end(), more.begin(), more.end());
    }
    if (result.tokens.empty() && p.prompt_logprobs) {
      for (size_t i = 0; i + 1 < next.size(); ++i) {
        result.prompt_logprobs.push_back(sampler.Score(std::span(logits).subspan(i * vocab, vocab),
                                                       next[i + 1], p.top_logprobs));
      }
    }
    auto sample = sampler.Choose({.logits = std::span(logits).last(vocab),
                                  .params = &p,
                                  .prompt = item.prompt,
                                  .output = result.tokens,
                                  .choice = item.choice,
                                  .eos_ids = config.eos_ids});
    REQUIRE(sample.ok());
    result.tokens.push_back(sample->token);
    if (sample->logprob) result.logprobs.push_back(*sample->logprob);
    const auto& stops = p.stop_token_ids;
    if (std::find(stops.begin(), stops.end(), sample->token) != stops.end()) break;
    next = {sample->token};
  }
  return result;
}

class Run {
 public:
  explicit Run(const EngineOptions& options, bool graphs = true) {
    auto engine = Engine::Create(TinyOnGpu(graphs, &device_), options);
    REQUIRE(engine.ok());
    engine_ = *std::move(engine);
  }
  Engine& engine() { return *engine_; }
  uint64_t free_bytes() { return device_->device().FreeBytes().value(); }
  std::map<uint64_t, Result>& results() { return results_; }

  void Step() {
    engine_->Step(&out_);
    REQUIRE(out_.model_gone.ok());
    for (const StepStart& start : out_.starts) {
      results_[start.id].cached = start.cached_prompt_tokens;
    }
    for (const PromptRow& row : out_.prompt_rows) {
      for (const TokenLogprob& l : out_.Logprobs(row)) {
        results_[row.id].prompt_logprobs.push_back(l);
      }
    }
    for (const StepRow& row : out_.rows) {
      for (const int32_t token : out_.Tokens(row)) results_[row.id].tokens.push_back(token);
      for (const TokenLogprob& l : out_.Logprobs(row)) results_[row.id].logprobs.push_back(l);
    }
    for (const StepFinish& finish : out_.finishes) {
      INFO(ToString(finish.error));
      REQUIRE(finish.error.ok());
      results_[finish.id].reason = finish.reason;
      results_[finish.id].preemptions = finish.preemptions;
    }
  }
  void UntilIdle() {
    while (!engine_->idle()) Step();
  }
  const StepOutput& last() const { return out_; }

 private:
  std::shared_ptr<OpDevice> device_;
  std::unique_ptr<Engine> engine_;
  std::map<uint64_t, Result> results_;
  StepOutput out_;
};

WorkItem Item(uint64_t id, size_t prompt, SamplingParams sampling, uint64_t shared = 0) {
  std::mt19937 random(static_cast<uint32_t>(id));
  std::mt19937 common(17);
  WorkItem item;
  item.id = id;
  item.choice = static_cast<uint32_t>(id % 2);
  item.sampling = std::move(sampling);
  item.sampling.seed = id * 7919;
  for (size_t i = 0; i < prompt; ++i) {
    item.prompt.push_back(static_cast<int32_t>((i < shared ? common() : random()) % 70));
  }
  return item;
}

void CheckSame(const std::vector<TokenLogprob>& found, const std::vector<TokenLogprob>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].token == expected[i].token);
    CHECK(std::abs(found[i].logprob - expected[i].logprob) < 1e-4f);
    CHECK(found[i].top_ids == expected[i].top_ids);
  }
}

// Every way of choosing, prompts that begin alike, one that wants all log probabilities.
std::vector<WorkItem> Mixed() {
  std::vector<WorkItem> items;
  items.push_back(Item(1, 5, {.temperature = 0, .max_tokens = 6}));
  items.push_back(Item(2, 70, {.top_p = 0.8f, .top_k = 20, .max_tokens = 7}, 68));
  items.push_back(
      Item(3, 75, {.temperature = 0.7f, .repetition_penalty = 1.3f, .max_tokens = 9}, 68));
  items.push_back(Item(4, 3,
                       {.temperature = 0.9f,
                        .presence_penalty = 1.5f,
                        .frequency_penalty = 0.7f,
                        .max_tokens = 12,
                        .logit_bias = {{3, 4.0f}, {5, -2.0f}}}));
  items.push_back(Item(5, 20,
                       {.temperature = 0,
                        .max_tokens = 5,
                        .logprobs = true,
                        .top_logprobs = 3,
                        .prompt_logprobs = true}));
  items.push_back(Item(6, 4, {.min_p = 0.05f, .max_tokens = 8, .logprobs = true}));
  return items;
}

TEST_CASE("The engine on a device says what its logits say, whatever runs together",
          "[gpu][engine]") {
  const bool graphs = GENERATE(true, false);
  Run run({.max_sequences = 4, .token_budget = 48, .kv_blocks = 12}, graphs);
  const uint64_t free = run.free_bytes();
  for (const WorkItem& item : Mixed()) REQUIRE(run.engine().Submit(item).ok());
  run.UntilIdle();
  for (const WorkItem& item : Mixed()) {
    CAPTURE(item.id, graphs);
    const Result expected = Plainly(item);
    const Result& found = run.results()[item.id];
    CHECK(found.tokens == expected.tokens);
    CHECK(found.reason == FinishReason::kLength);
    CheckSame(found.logprobs, expected.logprobs);
    CheckSame(found.prompt_logprobs, expected.prompt_logprobs);
  }
  CHECK(run.engine().stats().prefix_hit_tokens >= 64);
  CHECK(run.engine().stats().gaps > 0);
  // Nothing is allocated after the start, and debug builds abort on what waits inside a step.
  CHECK(run.free_bytes() == free);
}

TEST_CASE("Sequences on a device that lose their pages say the same afterwards", "[gpu][engine]") {
  // Three sequences of up to three pages each in four.
  Run run({.max_sequences = 3, .token_budget = 64, .kv_blocks = 4, .prefix_cache = false});
  std::vector<WorkItem> items;
  for (uint64_t id : {1, 2, 3}) {
    items.push_back(Item(id, 60, {.temperature = 0.8f, .max_tokens = 10}));
    REQUIRE(run.engine().Submit(items.back()).ok());
  }
  run.UntilIdle();
  uint32_t preemptions = 0;
  for (const WorkItem& item : items) {
    CHECK(run.results()[item.id].tokens == Plainly(item).tokens);
    preemptions += run.results()[item.id].preemptions;
  }
  CHECK(preemptions > 0);
  CHECK(run.engine().stats().kv_blocks_free == 4);
}

TEST_CASE("A cancel on a device acts within two steps, a stop token ends the text",
          "[gpu][engine]") {
  Run run({.max_sequences = 2, .token_budget = 64, .kv_blocks = 8});
  WorkItem stopped = Item(2, 6, {.temperature = 0, .max_tokens = 10});
  const std::vector<int32_t> plain = Plainly(stopped).tokens;
  stopped.sampling.stop_token_ids = {plain[2]};
  REQUIRE(run.engine().Submit(Item(1, 6, {.temperature = 0, .max_tokens = 1000})).ok());
  REQUIRE(run.engine().Submit(stopped).ok());
  for (int i = 0; i < 4; ++i) run.Step();
  CHECK_FALSE(run.engine().idle());
  run.engine().Cancel(1);
  run.Step();
  run.Step();
  CHECK(run.results()[1].reason == FinishReason::kCancelled);
  run.UntilIdle();
  CHECK(run.results()[2].reason == FinishReason::kStop);
  const auto end = std::find(plain.begin(), plain.end(), plain[2]) + 1;
  CHECK(run.results()[2].tokens == std::vector<int32_t>(plain.begin(), end));
  CHECK(run.engine().stats().kv_blocks_free == 8);
}

TEST_CASE("Decode steps of every number of sequences are recorded steps", "[gpu][engine]") {
  // Three sequences are filled up to a recorded shape; contexts beyond a chunk take another.
  Run run({.max_sequences = 3, .token_budget = 96, .kv_blocks = 16});
  std::vector<WorkItem> items;
  for (uint64_t id : {1, 2, 3}) {
    const size_t prompt = id == 3 ? 511 : 5;
    items.push_back(
        Item(id, prompt, {.temperature = 0, .max_tokens = static_cast<uint32_t>(2 + id)}));
    REQUIRE(run.engine().Submit(items.back()).ok());
  }
  run.UntilIdle();
  for (const WorkItem& item : items) {
    CHECK(run.results()[item.id].tokens == Plainly(item).tokens);
  }
}

}  // namespace
}  // namespace weft::engine
