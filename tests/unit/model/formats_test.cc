// A tiny model in every GGUF weight format.
#include <cmath>
#include <cstring>
#include <random>

#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "tests/support/catch.h"
#include "tests/unit/model/sequence_runner.h"
#include "tests/unit/model/tiny_model.h"

namespace weft {
namespace {

using test::SequenceRunner;
using test::TinyModel;

// The same model with every tensor as F32.
std::string Dequantised(const std::string& bytes) {
  const auto file = GgufFile::FromBytes(bytes).value();
  GgufWriter writer;
  for (const GgufFile::Entry& entry : file->entries()) writer.AddEntry(entry);
  std::vector<std::string> values;
  values.reserve(file->tensors().size());
  for (const GgufFile::Tensor& tensor : file->tensors()) {
    int64_t elements = 1;
    for (const int64_t dim : tensor.dims) elements *= dim;
    std::vector<float> floats(static_cast<size_t>(elements));
    WEFT_CHECK(Dequantize(tensor.type, tensor.data, elements, floats.data()));
    values.emplace_back(reinterpret_cast<const char*>(floats.data()), 4 * floats.size());
    writer.AddTensor(tensor.name, static_cast<uint32_t>(DType::kF32), tensor.dims, values.back());
  }
  return writer.Finish();
}

std::vector<float> Logits(std::shared_ptr<const GgufFile> file, const ModelOptions& options = {}) {
  const auto model = Model::Load(std::move(file), options).value();
  std::mt19937 random(3);
  std::vector<int32_t> tokens(24);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 300);
  SequenceRunner runner(*model, 1, 32);
  runner.Add(0, tokens);
  return runner.Step();
}

std::vector<float> Logits(const std::string& bytes, const ModelOptions& options) {
  return Logits(GgufFile::FromBytes(bytes).value(), options);
}

TEST_CASE("A model of any weight format computes what its dequantised values say", "[model]") {
  for (const DType type : test::SupportedTypes()) {
    if (!DTypeFromGguf(static_cast<uint32_t>(type)).has_value()) continue;
    INFO(Name(type));
    TinyModel tiny;
    tiny.type = type;
    const std::string bytes = tiny.Bytes();
    const std::string plain = Dequantised(bytes);
    const ModelOptions ref{.table = ModelOptions::Table::kRef, .threads = 2};
    const std::vector<float> expected = Logits(plain, ref);
    // The oracle dequantises row by row: the very same sums.
    const std::vector<float> oracle = Logits(bytes, ref);
    REQUIRE(oracle.size() == expected.size());
    REQUIRE(std::memcmp(oracle.data(), expected.data(), 4 * expected.size()) == 0);

    // The fast table rounds activations to 8 bits for block formats: errors of 2 to 3 % of the
    // logits' root mean square, after two layers of random weights, which cancel nothing.
    const std::vector<float> fast = Logits(bytes, {.threads = 2});
    double squares = 0;
    double errors = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      squares += static_cast<double>(expected[i]) * expected[i];
      errors += std::pow(static_cast<double>(fast[i]) - expected[i], 2);
    }
    const double bound = BlockSize(type) == 1 ? 1e-3 : 0.03;
    REQUIRE(std::sqrt(errors / squares) < bound);
    REQUIRE(squares > 0);
  }
}

TEST_CASE("A model in parts computes the bits of the whole one", "[model]") {
  const std::string bytes = TinyModel().Bytes();
  const auto whole = GgufFile::FromBytes(bytes).value();
  constexpr uint64_t kParts = 3;
  std::vector<std::string> parts;
  for (uint64_t part = 0; part < kParts; ++part) {
    GgufWriter writer;
    writer.AddUint64("split.no", part);
    writer.AddUint64("split.count", kParts);
    writer.AddUint64("split.tensors.count", whole->tensors().size());
    if (part == 0) {
      for (const GgufFile::Entry& entry : whole->entries()) writer.AddEntry(entry);
    }
    for (size_t i = part; i < whole->tensors().size(); i += kParts) {
      const GgufFile::Tensor& tensor = whole->tensors()[i];
      writer.AddTensor(tensor.name, static_cast<uint32_t>(tensor.type), tensor.dims,
                       {reinterpret_cast<const char*>(tensor.data), tensor.bytes});
    }
    parts.push_back(writer.Finish());
  }
  const auto joined = GgufFile::FromParts(parts).value();
  const auto model = Model::Load(joined, {.threads = 1}).value();
  REQUIRE(model->weights_sha256().size() == 64);
  REQUIRE(Logits(joined) == Logits(whole));
}

}  // namespace
}  // namespace weft
