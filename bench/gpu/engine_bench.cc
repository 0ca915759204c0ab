// The engine on one GPU with made-up weights of real shapes: tokens per second beside the bytes
// that each step must move. One JSON object per measurement on a line of its own.
//
//   gpu_engine_bench [--device N] [--shape NAME] [--type bf16|fp8|q4_k|q8_0|q4_0|q4_1|q6_k]
//                    [--batch N] [--context N] [--tokens N] [--sequences N] [--bandwidth BYTES/S]
//
// --sequences 0 (the default): `batch` sequences with a prompt of `context` tokens decode `tokens`
// tokens together, timed from the step in which the last of them got its first. With --sequences
// they come one after another, `batch` at a time, and everything counts: traffic.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <unordered_set>

#include "bench/gpu/bench_device.h"
#include "bench/gpu/random_model.h"
#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/engine/engine.h"
#include "libs/kv/kv_cache.h"
#include "libs/model/model.h"
#include "libs/ops/gpu_context.h"

namespace weft::bench {
namespace {

struct Options {
  int32_t device = 0;
  std::string shape = "llama3-8b";
  std::string type = "bf16";
  int32_t batch = 1;
  int32_t context = 16;
  int32_t tokens = 128;
  int32_t sequences = 0;
  double bandwidth = 4.8e12;  // of an H200's memory, nominal
};

absl::StatusOr<DType> TypeOf(const std::string& name) {
  for (const auto& [text, type] : {std::pair{"bf16", DType::kBF16},
                                   {"fp8", DType::kF8E4M3},
                                   {"q4_0", DType::kQ4_0},
                                   {"q4_1", DType::kQ4_1},
                                   {"q8_0", DType::kQ8_0},
                                   {"q4_k", DType::kQ4_K},
                                   {"q6_k", DType::kQ6_K}}) {
    if (name == text) return type;
  }
  return InvalidArgument("type: {} is not bf16, fp8, q4_0, q4_1, q8_0, q4_k or q6_k", name);
}

class Traffic {
 public:
  Traffic(engine::Engine& engine, const Options& options) : engine_(engine), o_(options) {}

  absl::Status Run() {
    const int32_t all = o_.sequences > 0 ? o_.sequences : o_.batch;
    const bool steady = o_.sequences == 0;
    std::unordered_set<uint64_t> started;
    int32_t submitted = 0;
    uint64_t counted = 0;
    SteadyTime begin = Clock::Real().Now();
    engine::StepOutput out;
    engine::EngineStats at_begin;
    while (submitted < all || !engine_.idle()) {
      while (submitted < all && submitted - finished_ < o_.batch) {
        WEFT_RETURN_IF_ERROR(Submit(static_cast<uint64_t>(++submitted)));
      }
      engine_.Step(&out);
      WEFT_RETURN_IF_ERROR(out.model_gone);
      for (const engine::StepFinish& finish : out.finishes) {
        WEFT_RETURN_IF_ERROR(finish.error);
        ++finished_;
      }
      if (!steady || started.size() == static_cast<size_t>(all)) {
        counted += out.tokens.size();
        continue;
      }
      for (const engine::StepRow& row : out.rows) started.insert(row.id);
      begin = Clock::Real().Now();
      at_begin = out.stats;
    }
    seconds = Seconds(Clock::Real().Now() - begin);
    const engine::EngineStats stats = engine_.stats();
    tokens = counted;
    steps = stats.steps - at_begin.steps;
    device_seconds = stats.device_seconds - at_begin.device_seconds;
    const uint64_t gaps = stats.gaps - at_begin.gaps;
    gap_us = gaps == 0
                 ? 0
                 : (stats.gap_seconds - at_begin.gap_seconds) * 1e6 / static_cast<double>(gaps);
    return absl::OkStatus();
  }

  double seconds = 0, device_seconds = 0, gap_us = 0;
  uint64_t tokens = 0, steps = 0;

 private:
  absl::Status Submit(uint64_t id) {
    engine::WorkItem item;
    item.id = id;
    std::uniform_int_distribution<int32_t> any(0, engine_.model().config().vocab - 1);
    for (int32_t i = 0; i < o_.context; ++i) item.prompt.push_back(any(random_));
    item.sampling.temperature = 0;
    item.sampling.max_tokens = static_cast<uint32_t>(o_.tokens);
    item.sampling.ignore_eos = true;
    return engine_.Submit(std::move(item));
  }

  engine::Engine& engine_;
  const Options& o_;
  std::mt19937 random_{1};
  int32_t finished_ = 0;
};

absl::Status Measure(const Options& o) {
  WEFT_ASSIGN_OR_RETURN(ModelConfig config, ShapeOf(o.shape));
  WEFT_ASSIGN_OR_RETURN(const DType type, TypeOf(o.type));
  if (o.batch < 1 || o.context < 1 || o.tokens < 2 ||
      o.context + o.tokens > config.context_length) {
    return InvalidArgument(
        "batch, context, tokens: expected 1, 1 and 2 at least, and {} tokens "
        "at most together",
        config.context_length);
  }
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Device> device, OpenBenchDevice(o.device));
  const std::string device_name = device->info().name;
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<GpuContext> context, GpuContext::Create(std::move(device)));
  context->MakeUpWeights(1);
  ModelOptions model_options;
  model_options.table = ModelOptions::Table::kGpu;
  model_options.device = context;
  model_options.max_step_sequences = o.batch;
  model_options.max_step_rows = std::max(o.batch, std::min(2048, config.context_length));
  model_options.context_length =
      std::min(config.context_length, (o.context + o.tokens + 1023) / 1024 * 1024);
  const SteadyTime begin = Clock::Real().Now();
  WEFT_ASSIGN_OR_RETURN(auto model, Model::Load(RandomSource(config, type), model_options));
  engine::EngineOptions options;
  options.max_sequences = o.batch;
  options.token_budget = model_options.max_step_rows;
  options.kv_blocks =
      o.batch * (kv::KvCache::BlocksFor(o.context + o.tokens) + 1) + o.batch / 10 + 2;
  options.prefix_cache = false;
  options.target_step = std::chrono::milliseconds(0);
  WEFT_ASSIGN_OR_RETURN(auto engine, engine::Engine::Create(std::move(model), options));
  const double load_seconds = Seconds(Clock::Real().Now() - begin);

  Options warm = o;
  warm.sequences = 0;
  warm.context = std::min(o.context, 32);
  warm.tokens = std::min(o.tokens, 4);
  WEFT_RETURN_IF_ERROR(Traffic(*engine, warm).Run());
  Traffic run(*engine, o);
  WEFT_RETURN_IF_ERROR(run.Run());

  // What a decode step must read: the weights once, each sequence's keys and values.
  const double bytes =
      static_cast<double>(WeightBytesOfStep(config, type)) +
      o.batch * (o.context + o.tokens / 2.0) * static_cast<double>(KvBytesOfToken(config));
  const double rate = static_cast<double>(run.tokens) / run.seconds;
  std::printf(
      "{\"device\": \"%s\", \"shape\": \"%s\", \"type\": \"%s\", \"batch\": %d, \"context\": %d, "
      "\"tokens\": %d, \"sequences\": %d, \"load_s\": %.3f, \"output_tok_s\": %.1f, "
      "\"steps\": %llu, \"step_ms\": %.4f, \"device_ms\": %.4f, \"gap_us\": %.2f, "
      "\"decode_step_bytes\": %.0f, \"decode_roof_tok_s\": %.1f}\n",
      device_name.c_str(), o.shape.c_str(), o.type.c_str(), o.batch, o.context, o.tokens,
      o.sequences, load_seconds, rate, static_cast<unsigned long long>(run.steps),
      run.seconds * 1e3 / static_cast<double>(run.steps),
      run.device_seconds * 1e3 / static_cast<double>(run.steps), run.gap_us, bytes,
      o.batch * o.bandwidth / bytes);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  CLI::App app("The engine on a GPU with made-up weights of real shapes");
  app.add_option("--device", o.device, "number of the GPU");
  app.add_option("--shape", o.shape, "of the model");
  app.add_option("--type", o.type, "of its matrices");
  app.add_option("--batch", o.batch, "sequences at a time");
  app.add_option("--context", o.context, "prompt tokens of each");
  app.add_option("--tokens", o.tokens, "output tokens of each");
  app.add_option("--sequences", o.sequences, "in all, as traffic; 0: one batch, decode only");
  app.add_option("--bandwidth", o.bandwidth, "of the memory, for the roof");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Measure(o);
  if (status.ok()) return 0;
  std::fprintf(stderr, "gpu_engine_bench: %s\n", ToString(status).c_str());
  return 1;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) { return weft::bench::Main(argc, argv); }
