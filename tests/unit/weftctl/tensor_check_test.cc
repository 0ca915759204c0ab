#include "services/weftctl/tensor_check.h"

#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "libs/gguf/gguf_writer.h"
#include "libs/model/gguf_source.h"
#include "services/weftctl/inspect.h"
#include "tests/support/catch.h"
#include "tests/support/random_blocks.h"

namespace weft::ctl {
namespace {

// Larger than what several threads take at once, and no whole number of pieces.
constexpr int64_t kColumns = 256;
constexpr int64_t kRows = 9001;

std::string RandomBytes(DType type, int64_t elements) {
  std::mt19937 random(1);
  const auto bytes = test::RandomTensorBytes(type, elements, 0.0f, 0.05f, random);
  return {bytes.begin(), bytes.end()};
}

void Put(std::string& floats, int64_t at, float value) {
  std::memcpy(floats.data() + 4 * at, &value, sizeof(value));
}

TEST_CASE("Values that are not finite are counted and the first is named, for any threads",
          "[weftctl]") {
  std::string good = RandomBytes(DType::kQ4_K, kColumns * kRows);
  std::string bad = RandomBytes(DType::kF32, kColumns * kRows);
  Put(bad, 70'001, std::numeric_limits<float>::quiet_NaN());
  Put(bad, 70'002, std::numeric_limits<float>::infinity());
  Put(bad, kColumns * kRows - 1, -std::numeric_limits<float>::infinity());
  std::string blocks = RandomBytes(DType::kQ8_0, kColumns * 2);
  blocks[34] = '\0';  // the second block's scale, as an infinite half
  blocks[35] = '\x7c';
  const std::string zeros(4 * kColumns, '\0');
  const std::string integers(kColumns, '\0');

  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  const std::vector<int64_t> matrix = {kColumns, kRows};
  writer.AddTensor("good", static_cast<uint32_t>(DType::kQ4_K), matrix, good);
  writer.AddTensor("bad", static_cast<uint32_t>(DType::kF32), matrix, bad);
  writer.AddTensor("blocks", static_cast<uint32_t>(DType::kQ8_0), std::vector<int64_t>{kColumns, 2},
                   blocks);
  writer.AddTensor("zeros", static_cast<uint32_t>(DType::kF32), std::vector<int64_t>{kColumns},
                   zeros);
  writer.AddTensor("integers", static_cast<uint32_t>(DType::kI8), std::vector<int64_t>{kColumns},
                   integers);
  InspectedModel model;
  model.metadata = GgufFile::FromBytes(writer.Finish()).value();
  model.tensors = std::make_shared<GgufSource>(model.metadata, /*mapped=*/false);

  for (const int threads : {1, 2, 5}) {
    double last = 0;
    std::string text;
    const TensorCheck check = CheckTensors(
        *model.tensors,
        {.threads = threads, .progress = [&](double fraction, const std::string& name) {
           CHECK(fraction >= last);
           last = fraction;
           text = name;
         }});
    CHECK(last == 1.0);
    CHECK(text == "integers");
    CHECK(check.tensors == 4);
    CHECK(check.bytes == good.size() + bad.size() + blocks.size() + zeros.size());
    CHECK(check.zero == std::vector<std::string>{"zeros"});
    CHECK(check.unread == std::vector<std::string>{"integers"});
    REQUIRE(check.not_finite.size() == 2);
    CHECK(check.not_finite[0].tensor == "bad");
    CHECK(check.not_finite[0].values == 3);
    CHECK(check.not_finite[0].first == 70'001);
    CHECK(check.not_finite[1].tensor == "blocks");
    CHECK(check.not_finite[1].first == 32);
    model.check = check;
  }
  const std::string text = InspectionText(model, false);
  CHECK_THAT(text, ContainsSubstring("damaged"));
  CHECK_THAT(text, ContainsSubstring("bad: 3 values, the first at element 70001"));
  CHECK_THAT(text, ContainsSubstring("all zero      zeros"));
  CHECK_THAT(InspectionJson(model), ContainsSubstring("\"first\": 70001"));
}

TEST_CASE("A model without tensors has nothing to read", "[weftctl]") {
  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  const GgufSource source(GgufFile::FromBytes(writer.Finish()).value(), /*mapped=*/false);
  const TensorCheck check = CheckTensors(source, {.threads = 1});
  CHECK(check.tensors == 0);
  CHECK(check.not_finite.empty());
}

}  // namespace
}  // namespace weft::ctl
