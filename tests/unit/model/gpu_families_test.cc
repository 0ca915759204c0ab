// Every family on the gpu op table, its kernels run by the emulator (or, from tests/gpu, a
// GPU).
#include <algorithm>
#include <cmath>

#include "tests/unit/model/family_goldens.h"
#include "tests/unit/model/gpu_rig.h"

namespace weft {
namespace {

using test::LogitsInChunks;
using test::OnGpu;
using test::SameBits;

constexpr const char* kGpuFamilies[] = {
    "llama3",     "llama_bias",  "llama_dynamic",   "mistral",          "qwen2",
    "qwen3",      "gemma2",      "gemma3_text",     "gemma3_pattern",   "starcoder2",
    "granite",    "gpt_bigcode", "smollm3",         "smollm3_pattern",  "phi3_long",
    "phi3_short", "fp8_block",   "fp8_tensor",      "gpt_bigcode_wide", "mixtral",
    "qwen3_moe",  "deepseek_v2", "deepseek_v2_lite"};

// Largest error of a logit, of its row's largest. Activations are rounded to bf16 (2^-9), and so
// are the weights of fp32 checkpoints; random networks cancel none of it.
constexpr double kGpuError = 0.08;
// Mean divergence from the oracle.
constexpr double kGpuMeanKl = 0.002;
// Where two experts of a row are nearly equal, rounding chooses: of random routers, at most this
// share of rows goes another way, by as much as it wants.
constexpr double kReroutedRows = 0.125;
constexpr double kGpuMeanKlOfExperts = 0.02;
// Longer than the families' windows.
constexpr size_t kFamilyTokens = 40;

TEST_CASE("Every family on the GPU's kernels computes what the oracle does",
          "[gpu][model][families]") {
  const std::string name = GENERATE(from_range(std::begin(kGpuFamilies), std::end(kGpuFamilies)));
  CAPTURE(name);
  const auto gpu = test::LoadModel(test::FamilyFolder(name), OnGpu());
  const auto ref = test::LoadModel(test::FamilyFolder(name), test::Ref());
  const auto vocab = static_cast<size_t>(ref->config().vocab);
  std::vector<int32_t> tokens = test::AllTokens(test::Golden(name)["cases"].back());
  tokens.resize(std::min(tokens.size(), kFamilyTokens));
  const std::vector<float> expected = LogitsInChunks(*ref, tokens, tokens.size(), 64);
  const std::vector<float> found = LogitsInChunks(*gpu, tokens, tokens.size(), 64);
  REQUIRE(found.size() == expected.size());
  const bool experts = ref->config().moe.experts > 0;
  size_t rerouted = 0;
  for (size_t row = 0; row < found.size(); row += vocab) {
    const auto wanted = expected.begin() + static_cast<int64_t>(row);
    const double error = test::RowError(&expected[row], &found[row], vocab);
    if (error > kGpuError) {
      ++rerouted;
      continue;
    }
    // The same greedy token wherever the oracle's best is not within the error of another.
    const auto best = std::max_element(wanted, wanted + static_cast<int64_t>(vocab)) - wanted;
    const auto own = found.begin() + static_cast<int64_t>(row);
    const auto chosen = std::max_element(own, own + static_cast<int64_t>(vocab)) - own;
    double scale = 0;
    for (size_t i = 0; i < vocab; ++i) scale = std::max<double>(scale, std::abs(wanted[i]));
    CHECK(wanted[best] - wanted[chosen] <= 2 * kGpuError * scale);
  }
  CHECK(static_cast<double>(rerouted) <=
        (experts ? kReroutedRows : 0) * static_cast<double>(tokens.size()));
  CHECK(test::MeanKl(expected, found, vocab) <= (experts ? kGpuMeanKlOfExperts : kGpuMeanKl));
  CHECK(SameBits(LogitsInChunks(*gpu, tokens, 13, 32), found));
}

// Of fast products: FP8 weights meet activations that are rounded to FP8 too, 2^-4 each and 32
// times as coarse as bf16. Random networks of 64 columns average little of it out.
constexpr double kFastGpuMeanKl = 0.002;
constexpr double kFastFp8MeanKl = 0.1;

TEST_CASE("The fast numerics stay near the oracle, on FP8 activations where the weights are FP8",
          "[gpu][model][families][fast]") {
  const std::string name = GENERATE("llama3", "fp8_block", "fp8_tensor");
  CAPTURE(name);
  const auto fast =
      test::LoadModel(test::FamilyFolder(name), OnGpu(DType::kF16, gpu::Numerics::kFast));
  const auto ref = test::LoadModel(test::FamilyFolder(name), test::Ref());
  const auto vocab = static_cast<size_t>(ref->config().vocab);
  std::vector<int32_t> tokens = test::AllTokens(test::Golden(name)["cases"].back());
  tokens.resize(std::min(tokens.size(), kFamilyTokens));
  const std::vector<float> expected = LogitsInChunks(*ref, tokens, tokens.size(), 64);
  const std::vector<float> found = LogitsInChunks(*fast, tokens, tokens.size(), 64);
  const bool fp8 = name.starts_with("fp8");
  CHECK(test::MeanKl(expected, found, vocab) <= (fp8 ? kFastFp8MeanKl : kFastGpuMeanKl));
  if (fp8) {
    // Their activations were rounded: the exact numerics' bits are others.
    const auto exact = test::LoadModel(test::FamilyFolder(name), OnGpu());
    CHECK_FALSE(SameBits(LogitsInChunks(*exact, tokens, tokens.size(), 64), found));
  }
}

}  // namespace
}  // namespace weft
