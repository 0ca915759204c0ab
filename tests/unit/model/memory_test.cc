#include "libs/model/memory.h"

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/gguf_source.h"
#include "libs/model/model.h"
#include "tests/support/catch.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using test::TinyModel;

TEST_CASE("The estimate of the weights is what loading takes", "[model]") {
  for (const bool tied : {true, false}) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kQ4_1, DType::kQ8_0, DType::kQ6_K}) {
      INFO(Name(type));
      TinyModel tiny;
      tiny.type = type;
      tiny.tied = tied;
      const auto file = GgufFile::FromBytes(tiny.Bytes()).value();
      const auto config = ModelConfig::FromGguf(*file).value();
      const MemoryNeed need =
          EstimateMemory(config, GgufSource(file, false), {.kv_bytes = UINT64_MAX, .sequences = 3});
      const auto model = Model::Load(file, {.threads = 1}).value();
      const uint64_t norms = 4 * 256 * (2 * 2 + 1);
      REQUIRE(need.weights == model->memory_bytes() + norms);
      REQUIRE(need.kv == 3 * 512 * model->KvBytesPerBlock(16) / 16);
      REQUIRE(need.scratch > 0);
    }
  }
}

TEST_CASE("A token of KV cache takes what its type says, and the estimate knows it", "[model]") {
  TinyModel tiny;
  tiny.head_dim = 48;
  const auto file = GgufFile::FromBytes(tiny.Bytes()).value();
  const auto config = ModelConfig::FromGguf(*file).value();
  // Two layers of two heads of keys and values of 48 elements; a Q8_0 head has two scales.
  for (const auto& [type, bytes] : {std::pair{DType::kF16, 2 * 2 * 2 * 96},
                                    {DType::kBF16, 2 * 2 * 2 * 96},
                                    {DType::kQ8_0, 2 * 2 * 2 * (48 + 4)}}) {
    const auto wanted = static_cast<uint64_t>(bytes);
    REQUIRE(KvBytesPerToken(config, type) == wanted);
    const auto model = Model::Load(file, {.threads = 1, .kv_type = type}).value();
    REQUIRE(model->KvBytesPerBlock(64) == 64 * wanted);
    const uint64_t before = model->memory_bytes();
    REQUIRE(model->AllocateKv(3, 64).ok());
    REQUIRE(model->memory_bytes() - before == 3 * 64 * wanted);
    const MemoryNeed need =
        EstimateMemory(config, GgufSource(file, false), {.kv_bytes = UINT64_MAX}, type);
    REQUIRE(need.kv == 512 * wanted);
  }
}

TEST_CASE("A model that does not fit is refused before it is loaded, with the bytes", "[model]") {
  const MemoryNeed need{.weights = 700, .kv = 200, .scratch = 100};
  REQUIRE(CheckMemory(need, {.bytes = 1000}).ok());
  const absl::Status status = CheckMemory(need, {.bytes = 999, .limit = "/cgroup/memory.max"});
  REQUIRE(status.code() == absl::StatusCode::kResourceExhausted);
  REQUIRE(
      Message(status) ==
      "not enough memory: 1000 bytes are needed (700 for weights, 200 for the KV cache, 100 for "
      "activations), 999 are available (/cgroup/memory.max)");

  TinyModel tiny;
  tiny.overrides["context_length"] = 1'000'000;
  ModelOptions options{.threads = 1};
  options.memory = MemoryPlan{.kv_bytes = UINT64_MAX, .sequences = 1'000'000'000};
  options.progress = [](const LoadProgress&) { FAIL("loading began"); };
  const auto refused = Model::Load(GgufFile::FromBytes(tiny.Bytes()).value(), options);
  REQUIRE(refused.status().code() == absl::StatusCode::kResourceExhausted);
  options.progress = nullptr;
  options.memory = MemoryPlan{.kv_bytes = 1 << 20};
  REQUIRE(Model::Load(GgufFile::FromBytes(TinyModel().Bytes()).value(), options).ok());
}

}  // namespace
}  // namespace weft
