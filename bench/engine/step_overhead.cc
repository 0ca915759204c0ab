// What one engine step costs beside the model: planning, KV bookkeeping, sampling and output, with
// a model that takes no time. A vocabulary of 64 leaves the sampling out.
//
//   bench-engine-step [sequences=256] [prompt=500] [decode=200] [vocab=49152]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#include "libs/engine/engine.h"

namespace weft::engine {
namespace {

class FreeModel final : public ModelRunner {
 public:
  explicit FreeModel(int32_t vocab) {
    config_.vocab = vocab;
    config_.context_length = 8192;
  }
  const ModelConfig& config() const override { return config_; }
  absl::Status AllocateKv(int32_t, int32_t) override { return absl::OkStatus(); }
  uint64_t KvBytesPerBlock(int32_t) const override { return 1; }
  absl::Status Forward(const StepBatch&, std::span<float> logits) override {
    const auto vocab = static_cast<size_t>(config_.vocab);
    for (size_t i = 0; i < logits.size(); i += vocab) logits[i + next_++ % vocab] += 1.0F;
    return absl::OkStatus();
  }
  uint64_t layer_progress() const override { return 0; }
  std::string weights_sha256() const override { return "free"; }
  std::string quantization() const override { return "none"; }
  std::string numerics_class() const override { return "free"; }
  uint64_t memory_bytes() const override { return 0; }

 private:
  ModelConfig config_;
  size_t next_ = 0;
};

int Main(int argc, char** argv) {
  auto argument = [&](int i, int fallback) { return argc > i ? std::atoi(argv[i]) : fallback; };
  const int sequences = argument(1, 256);
  const int prompt = argument(2, 500);
  const int decode = argument(3, 200);
  const int vocab = argument(4, 49152);
  for (const float temperature : {0.0F, 0.8F}) {
    EngineOptions options;
    options.max_sequences = sequences;
    options.token_budget = std::max(4096, sequences);
    options.kv_blocks = sequences * ((prompt + decode) / kBlockTokens + 3);
    auto engine = Engine::Create(std::make_unique<FreeModel>(vocab), options);
    if (!engine.ok()) return 1;
    for (int i = 1; i <= sequences; ++i) {
      WorkItem item;
      item.id = static_cast<uint64_t>(i);
      for (int t = 0; t < prompt; ++t) item.prompt.push_back((i * 7919 + t) % vocab);
      item.sampling.temperature = temperature;
      item.sampling.max_tokens = static_cast<uint32_t>(decode);
      item.sampling.ignore_eos = true;
      item.share_key = static_cast<uint64_t>(i % 8);
      if (!(*engine)->Submit(std::move(item)).ok()) return 1;
    }
    std::vector<double> micros;  // of steps in which all decode
    StepOutput out;
    while (!(*engine)->idle()) {
      const auto begin = std::chrono::steady_clock::now();
      (*engine)->Step(&out);
      const auto end = std::chrono::steady_clock::now();
      if (out.decode_rows != static_cast<uint32_t>(sequences)) continue;
      micros.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
    }
    if (micros.empty()) return 1;
    std::sort(micros.begin(), micros.end());
    const double p50 = micros[micros.size() / 2];
    fmt::print("{} sequences, temperature {}: p50 {:.0f} us a step, {:.2f} us a sequence\n",
               sequences, temperature, p50, p50 / sequences);
  }
  return 0;
}

}  // namespace
}  // namespace weft::engine

int main(int argc, char** argv) { return weft::engine::Main(argc, argv); }
