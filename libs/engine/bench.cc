#include "libs/engine/bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "libs/kv/kv_cache.h"
#include "libs/model/model.h"

namespace weft::engine {
namespace {

// Decoding starts from a context that is short but not empty.
constexpr int32_t kDecodePrompt = 16;

absl::Status CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidArgument("{}: {} is not in [{}, {}]", field, value, low, high);
}

class Bench {
 public:
  explicit Bench(Engine* engine) : engine_(engine) {}

  // Seconds to compute a prompt of this many tokens and choose the first new one.
  absl::StatusOr<double> Prefill(int32_t tokens) {
    WEFT_RETURN_IF_ERROR(Submit(tokens, 1));
    const auto begin = Clock::Real().Now();
    WEFT_RETURN_IF_ERROR(StepUntilIdle(nullptr));
    return Seconds(Clock::Real().Now() - begin);
  }

  // Tokens per second of `n` sequences that decode together, from the step in which the last of
  // them got its first token.
  absl::StatusOr<double> Decode(int32_t n, int32_t tokens) {
    for (int32_t i = 0; i < n; ++i) WEFT_RETURN_IF_ERROR(Submit(kDecodePrompt, tokens));
    std::unordered_set<uint64_t> started;
    SteadyTime begin{};
    uint64_t counted = 0;
    WEFT_RETURN_IF_ERROR(StepUntilIdle([&](const StepOutput& out) {
      if (started.size() == static_cast<size_t>(n)) {
        counted += out.tokens.size();
        return;
      }
      for (const StepRow& row : out.rows) started.insert(row.id);
      begin = Clock::Real().Now();
    }));
    return static_cast<double>(counted) / Seconds(Clock::Real().Now() - begin);
  }

 private:
  absl::Status Submit(int32_t prompt, int32_t tokens) {
    WorkItem item;
    item.id = ++next_id_;
    std::uniform_int_distribution<int32_t> any(0, engine_->model().config().vocab - 1);
    for (int32_t i = 0; i < prompt; ++i) item.prompt.push_back(any(random_));
    item.sampling.temperature = 0.0F;
    item.sampling.max_tokens = static_cast<uint32_t>(tokens);
    item.sampling.ignore_eos = true;
    return engine_->Submit(std::move(item));
  }

  template <typename F>
  absl::Status StepUntilIdle(F on_step) {
    StepOutput out;
    while (!engine_->idle()) {
      engine_->Step(&out);
      if constexpr (!std::is_null_pointer_v<F>) on_step(out);
      for (const StepFinish& finish : out.finishes) WEFT_RETURN_IF_ERROR(finish.error);
    }
    return absl::OkStatus();
  }

  Engine* const engine_;
  std::mt19937 random_{1};
  uint64_t next_id_ = 0;
};

}  // namespace

absl::Status BenchOptions::Validate() const {
  WEFT_RETURN_IF_ERROR(CheckRange("prefill", prefill, 1, 1 << 20));
  WEFT_RETURN_IF_ERROR(CheckRange("decode", decode, 2, 1 << 20));
  for (int32_t n : batches) WEFT_RETURN_IF_ERROR(CheckRange("batch", n, 1, 1024));
  WEFT_RETURN_IF_ERROR(CheckRange("threads", threads, 0, 1024));
  return CheckRange("repetitions", repetitions, 1, 100);
}

absl::StatusOr<BenchResult> RunBench(const std::string& model_path, const BenchOptions& options) {
  WEFT_RETURN_IF_ERROR(options.Validate());
  ModelOptions model_options;
  model_options.threads = options.threads;
  model_options.kv_type = options.kv_type;
  model_options.repack_cache = options.repack_cache;
  const auto begin = Clock::Real().Now();
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Load(model_path, model_options));
  const Model& facts = *model;
  WEFT_RETURN_IF_ERROR(
      CheckRange("prefill", options.prefill, 1, facts.config().context_length - 1));
  WEFT_RETURN_IF_ERROR(
      CheckRange("decode", options.decode, 2, facts.config().context_length - kDecodePrompt));

  int32_t most = 1;
  for (int32_t n : options.batches) most = std::max(most, n);
  EngineOptions engine_options;
  engine_options.max_sequences = most;
  engine_options.token_budget = std::max(512, most);
  // A block more for each sequence: beside others it is admitted with room for a next token.
  engine_options.kv_blocks =
      std::max(most * (kv::KvCache::BlocksFor(kDecodePrompt + options.decode) + 1),
               kv::KvCache::BlocksFor(options.prefill + 1)) +
      most / 10 + 2;
  engine_options.prefix_cache = false;
  engine_options.target_step = std::chrono::milliseconds(0);
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                        Engine::Create(std::move(model), engine_options));

  BenchResult result;
  result.load_seconds = Seconds(Clock::Real().Now() - begin);
  result.threads = facts.threads();
  result.isa = facts.isa();
  result.model = fmt::format("{} {}", facts.config().architecture, facts.quantization());
  Bench bench(engine.get());
  auto best_decode = [&](int32_t n) -> absl::StatusOr<double> {
    double best = 0.0;
    for (int32_t i = 0; i < options.repetitions; ++i) {
      WEFT_ASSIGN_OR_RETURN(const double tok_s, bench.Decode(n, options.decode));
      best = std::max(best, tok_s);
    }
    return best;
  };
  // Pages of the weights come from the disk in the first pass.
  WEFT_RETURN_IF_ERROR(bench.Prefill(std::min(options.prefill, 32)).status());
  for (int32_t i = 0; i < options.repetitions; ++i) {
    WEFT_ASSIGN_OR_RETURN(const double seconds, bench.Prefill(options.prefill));
    result.prefill_tok_s = std::max(result.prefill_tok_s, options.prefill / seconds);
  }
  WEFT_ASSIGN_OR_RETURN(result.decode_tok_s, best_decode(1));
  for (int32_t n : options.batches) {
    double tok_s = result.decode_tok_s;
    if (n > 1) {
      WEFT_ASSIGN_OR_RETURN(tok_s, best_decode(n));
    }
    result.batch.push_back({n, tok_s});
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  result.peak_rss_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  return result;
}

}  // namespace weft::engine
