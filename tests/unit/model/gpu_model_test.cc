// The transformer on the gpu op table, its kernels run by the emulator. tests/gpu runs the same
// cases on a GPU.
#include <cmath>
#include <random>

#include "libs/gguf/gguf.h"
#include "libs/ops/op_device.h"
#include "tests/support/catch.h"
#include "tests/unit/model/family_goldens.h"
#include "tests/unit/model/gpu_rig.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using test::LogitsInChunks;
using test::OnGpu;
using test::SameBits;
using test::SequenceRunner;
using test::TinyModel;

// |found - expected| / |expected|, of whole vectors; infinite where something is not a number.
double RelativeError(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return INFINITY;
  double error = 0;
  double norm = 1e-30;
  for (size_t i = 0; i < found.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  const double relative = std::sqrt(error / norm);
  return std::isnan(relative) ? INFINITY : relative;
}

std::vector<int32_t> RandomTokens(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 300);
  return tokens;
}

// Three sequences: a prompt in one step; a decode row beside a longer prompt; then two decode rows
// beside a chunk and a prompt of one row.
std::vector<float> MixedSteps(Model& model) {
  SequenceRunner runner(model, 3, 64, 16);
  std::vector<float> logits;
  const auto step = [&] {
    const std::vector<float> more = runner.Step();
    logits.insert(logits.end(), more.begin(), more.end());
  };
  runner.Add(0, RandomTokens(5, 1));
  step();
  runner.Add(0, RandomTokens(1, 2));
  runner.Add(1, RandomTokens(20, 3), /*all_logits=*/false);
  step();
  runner.Add(0, RandomTokens(1, 4));
  runner.Add(1, RandomTokens(4, 5), /*all_logits=*/false);
  runner.Add(2, RandomTokens(1, 6));
  step();
  return logits;
}

TinyModel Tiny(DType type) {
  TinyModel tiny;
  tiny.type = type;
  return tiny;
}

TEST_CASE("The transformer on the GPU's kernels computes what the oracle does", "[gpu][model]") {
  // F16 and Q5_0 have no kernels of their own: they are rounded to bf16.
  const DType type =
      GENERATE(DType::kQ4_1, DType::kQ4_K, DType::kQ6_K, DType::kBF16, DType::kF16, DType::kQ5_0);
  INFO(Name(type));
  const auto file = GgufFile::FromBytes(Tiny(type).Bytes()).value();
  const auto gpu = test::LoadModel(file, OnGpu());
  const auto ref = test::LoadModel(file, test::Ref());
  // Activations are rounded to bf16 before each product, 2^-9 of a value: after two layers of
  // random weights, which cancel nothing, about 1 % of the logits' root mean square.
  CHECK(RelativeError(MixedSteps(*gpu), MixedSteps(*ref)) < 0.015);
  CHECK_THAT(gpu->numerics_class(), ContainsSubstring("gpu-"));
}

TEST_CASE("A row on the GPU has the same bits in one step and in chunks", "[gpu][model]") {
  const DType kv_type = GENERATE(DType::kF16, DType::kBF16, DType::kF8E4M3);
  INFO(Name(kv_type));
  const auto file = GgufFile::FromBytes(Tiny(DType::kQ8_0).Bytes()).value();
  const auto gpu = test::LoadModel(file, OnGpu(kv_type));
  const std::vector<int32_t> tokens = RandomTokens(11, 4);
  const std::vector<float> whole = LogitsInChunks(*gpu, tokens, tokens.size(), kBlockTokens);
  CHECK(SameBits(LogitsInChunks(*gpu, tokens, 1, kBlockTokens), whole));
  CHECK(SameBits(LogitsInChunks(*gpu, tokens, 4, 16), whole));
  // Keys and values of FP8 have three bits behind the point.
  const auto ref = test::LoadModel(file, test::Ref());
  const std::vector<float> expected = LogitsInChunks(*ref, tokens, tokens.size(), kBlockTokens);
  CHECK(RelativeError(whole, expected) < (kv_type == DType::kF8E4M3 ? 0.1 : 0.015));
}

TEST_CASE("Sequences that share pages on the GPU have the bits of ones that do not",
          "[gpu][model]") {
  const auto gpu =
      test::LoadModel(GgufFile::FromBytes(Tiny(DType::kQ4_0).Bytes()).value(), OnGpu());
  const std::vector<int32_t> prefix = RandomTokens(16, 7), first = RandomTokens(3, 8),
                             second = RandomTokens(5, 9);
  const auto alone = [&](std::vector<int32_t> tail) {
    std::vector<int32_t> all = prefix;
    all.insert(all.end(), tail.begin(), tail.end());
    SequenceRunner runner(*gpu, 1, 32, 16);
    runner.Add(0, all, /*all_logits=*/false);
    return runner.Step();
  };
  std::vector<float> expected = alone(first);
  const std::vector<float> other = alone(second);
  expected.insert(expected.end(), other.begin(), other.end());

  // Page 0 holds the prefix, pages 2 and 1 the tails.
  REQUIRE(gpu->AllocateKv(3, 16).ok());
  const auto run = [&](std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>> rows,
                       int32_t from, std::span<float> logits) {
    StepBatch batch;
    for (const auto& [tokens, table] : rows) {
      const auto count = static_cast<int32_t>(tokens.size());
      batch.sequences.push_back(
          {batch.rows(), count, table.data(), static_cast<int32_t>(table.size()), from + count});
      for (int32_t i = 0; i < count; ++i) {
        const int32_t position = from + i;
        batch.tokens.push_back(tokens[static_cast<size_t>(i)]);
        batch.positions.push_back(position);
        batch.cache_slots.push_back(table[static_cast<size_t>(position / 16)] * 16 + position % 16);
        batch.wants_logits.push_back(!logits.empty() && i + 1 == count ? 1 : 0);
      }
    }
    REQUIRE(gpu->Forward(batch, logits).ok());
  };
  run({{prefix, {0}}}, 0, {});
  std::vector<float> found(expected.size());
  run({{first, {0, 2}}, {second, {0, 1}}}, 16, found);
  CHECK(SameBits(found, expected));
}

TEST_CASE("More rows want logits than leave the device at once", "[gpu][model]") {
  TinyModel tiny = Tiny(DType::kQ4_0);
  tiny.layers = 1, tiny.hidden = 32, tiny.ffn = 32, tiny.heads = 1, tiny.kv_heads = 1,
  tiny.head_dim = 32;
  ModelOptions options = OnGpu();
  options.max_step_rows = 300;
  const auto gpu = test::LoadModel(GgufFile::FromBytes(tiny.Bytes()).value(), options);
  const std::vector<int32_t> tokens = RandomTokens(300, 5);
  CHECK(SameBits(LogitsInChunks(*gpu, tokens, 300, kBlockTokens),
                 LogitsInChunks(*gpu, tokens, 100, kBlockTokens)));
}

TEST_CASE("What the GPU's table lacks is refused by name", "[gpu][model]") {
  const auto load = [](const TinyModel& tiny, const ModelOptions& options) {
    return ToString(Model::Load(GgufFile::FromBytes(tiny.Bytes()).value(), options).status());
  };
  TinyModel tiny = Tiny(DType::kBF16);
  tiny.ffn = 72;
  CHECK_THAT(load(tiny, OnGpu()), ContainsSubstring("blk.0.ffn_down.weight: 72 columns"));
  tiny = Tiny(DType::kQ4_1);
  tiny.head_dim = 48;
  CHECK_THAT(load(tiny, OnGpu()), ContainsSubstring("heads of 48"));
  CHECK_THAT(load(Tiny(DType::kQ4_1), OnGpu(DType::kQ8_0)), ContainsSubstring("kv_type Q8_0"));
  ModelOptions none = OnGpu();
  none.device = nullptr;
  CHECK_THAT(load(Tiny(DType::kQ4_1), none), ContainsSubstring("kGpu needs one"));
}

TEST_CASE("A model or a cache that does not fit the device is refused with its largest parts",
          "[gpu][model]") {
  const auto file = GgufFile::FromBytes(Tiny(DType::kQ4_1).Bytes()).value();
  ModelOptions options = OnGpu();
  const uint64_t free = options.device->device().FreeBytes().value();
  options.device_reserve_bytes = free - 100'000;
  const auto model = Model::Load(file, options);
  REQUIRE(absl::IsResourceExhausted(model.status()));
  REQUIRE_THAT(ToString(model.status()), ContainsSubstring("the largest parts are"));

  options = OnGpu();
  options.device_reserve_bytes = free - 5'000'000;
  const auto small = test::LoadModel(file, options);
  const absl::Status status = small->AllocateKv(1000, 64);
  REQUIRE(absl::IsResourceExhausted(status));
  REQUIRE_THAT(ToString(status), ContainsSubstring("KV pages: "));
  // It can be asked again, for less.
  REQUIRE(small->AllocateKv(2, 64).ok());
}

TEST_CASE("The KV cache gets what weights, steps and the reserve leave of a part of the memory",
          "[gpu][model]") {
  const auto file = GgufFile::FromBytes(Tiny(DType::kQ4_1).Bytes()).value();
  ModelOptions options = OnGpu();
  options.device = test::MakeOpDevice(uint64_t{64} << 20);
  options.device_reserve_bytes = 4 << 20;
  Device& device = options.device->device();
  if (!device.info().emulated) return;  // a driver rounds up, and others use its memory too
  const auto model = test::LoadModel(file, options);
  const auto fits = [&](double part) { return model->FittingBlocks(part, 64); };
  const int32_t half = fits(0.5).value();
  // More would be beyond the part, not beyond the memory.
  REQUIRE(model->AllocateKv(half, 64).ok());
  const uint64_t used = device.info().memory_bytes - device.FreeBytes().value();
  CHECK(used <= device.info().memory_bytes / 2);
  CHECK(used > device.info().memory_bytes / 2 - 2 * model->KvBytesPerBlock(64));
  // The whole memory but for the reserve: one page more does not fit.
  const int32_t all = fits(1.0).value();
  CHECK(all > half);
  REQUIRE(model->AllocateKv(all, 64).ok());
  CHECK(device.FreeBytes().value() >= options.device_reserve_bytes);
  CHECK(absl::IsResourceExhausted(model->AllocateKv(all + 2, 64)));
  CHECK_THAT(ToString(fits(1e-4).status()), ContainsSubstring("kv_memory_fraction"));
  CHECK(model->load_bytes_per_second() > 0);
}

TEST_CASE("All matrices are bf16 where that is asked for", "[gpu][model]") {
  const auto file = GgufFile::FromBytes(Tiny(DType::kQ8_0).Bytes()).value();
  ModelOptions options = OnGpu();
  options.weights_bf16 = true;
  const auto wide = test::LoadModel(file, options);
  const auto blocks = test::LoadModel(file, OnGpu());
  CHECK(wide->memory_bytes() > blocks->memory_bytes());
  CHECK(RelativeError(MixedSteps(*wide), MixedSteps(*blocks)) < 0.015);
}

TEST_CASE("A step beyond the limits that memory was planned for is refused", "[gpu][model]") {
  const auto gpu =
      test::LoadModel(GgufFile::FromBytes(Tiny(DType::kQ4_1).Bytes()).value(), OnGpu());
  SequenceRunner runner(*gpu, 1, 128);
  runner.Add(0, RandomTokens(97, 1));
  std::vector<float> logits(97 * 300);
  REQUIRE_THAT(ToString(gpu->Forward(runner.batch(), logits)),
               ContainsSubstring("tokens: expected 1 to 96 rows, found 97"));
}

}  // namespace
}  // namespace weft
