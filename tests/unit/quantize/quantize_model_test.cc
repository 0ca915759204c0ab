#include "libs/quantize/quantize_model.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>
#include <thread>

#include "libs/base/status.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/model/gguf_source.h"
#include "libs/quantize/quantizers.h"
#include "tests/support/catch.h"
#include "tests/support/random_blocks.h"
#include "tests/support/temp_dir.h"

namespace weft {
namespace {

struct Spec {
  std::string name;
  DType type;
  std::vector<int64_t> dims;
};

std::shared_ptr<const GgufFile> MakeFile(const std::vector<Spec>& specs) {
  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  writer.AddString("general.name", "tiny");
  writer.AddUint32("general.file_type", 1);
  writer.AddUint32("split.count", 1);
  std::mt19937 random(1);
  std::vector<std::string> data;
  data.reserve(specs.size());
  for (const Spec& spec : specs) {
    int64_t elements = 1;
    for (const int64_t dim : spec.dims) elements *= dim;
    const auto bytes = test::RandomTensorBytes(spec.type, elements, 0.0f, 0.05f, random);
    data.emplace_back(bytes.begin(), bytes.end());
    writer.AddTensor(spec.name, static_cast<uint32_t>(spec.type), spec.dims, data.back());
  }
  return GgufFile::FromBytes(writer.Finish()).value();
}

// Every kind of tensor that a rule knows, rows of 256.
std::vector<Spec> Layers(int layers, DType type, bool tied, int64_t columns = 256) {
  std::vector<Spec> specs = {{"token_embd.weight", type, {columns, 40}},
                             {"output_norm.weight", DType::kF32, {columns}}};
  if (!tied) specs.push_back({"output.weight", type, {columns, 40}});
  for (int i = 0; i < layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    specs.push_back({prefix + "attn_norm.weight", DType::kF32, {columns}});
    for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down"}) {
      specs.push_back({prefix + part + ".weight", type, {columns, 7}});
    }
  }
  return specs;
}

absl::StatusOr<QuantizeReport> Write(const std::shared_ptr<const GgufFile>& file,
                                     const std::string& out, const QuantizeMix& mix,
                                     int threads = 2) {
  QuantizeOptions options;
  options.mix = mix;
  options.threads = threads;
  return QuantizeModel(GgufSource(file, false), *file, out, options);
}

DType TypeIn(const GgufFile& file, std::string_view name) {
  const GgufFile::Tensor* tensor = file.FindTensor(name);
  REQUIRE(tensor != nullptr);
  return tensor->type;
}

TEST_CASE("A quantised file has the metadata, the shapes and the mixed types", "[quantize]") {
  const test::TempDir dir;
  const auto file = MakeFile(Layers(8, DType::kF16, false));
  const QuantizeReport report = Write(file, dir.File("q.gguf"), {DType::kQ4_K}).value();
  const auto out = GgufFile::Open(dir.File("q.gguf")).value();
  REQUIRE(report.bytes_out == out->file_bytes());
  REQUIRE(report.fallbacks.empty());
  REQUIRE(out->GetString("general.name").value() == "tiny");
  REQUIRE(out->GetUint("general.file_type").value() == 15);
  REQUIRE(out->GetUint("general.quantization_version").value() == 2);
  REQUIRE_FALSE(out->Has("split.count"));
  REQUIRE(out->tensors().size() == file->tensors().size());
  for (size_t i = 0; i < out->tensors().size(); ++i) {
    REQUIRE(out->tensors()[i].name == file->tensors()[i].name);
    REQUIRE(out->tensors()[i].dims == file->tensors()[i].dims);
  }
  REQUIRE(TypeIn(*out, "output.weight") == DType::kQ6_K);
  REQUIRE(TypeIn(*out, "token_embd.weight") == DType::kQ4_K);
  REQUIRE(TypeIn(*out, "blk.3.attn_norm.weight") == DType::kF32);
  REQUIRE(TypeIn(*out, "blk.3.attn_q.weight") == DType::kQ4_K);
  // Of eight layers: the first, the last, and every third from the second on.
  const std::set<int> sensitive = {0, 3, 6, 7};
  for (int i = 0; i < 8; ++i) {
    const DType expected = sensitive.count(i) > 0 ? DType::kQ6_K : DType::kQ4_K;
    REQUIRE(TypeIn(*out, "blk." + std::to_string(i) + ".attn_v.weight") == expected);
    REQUIRE(TypeIn(*out, "blk." + std::to_string(i) + ".ffn_down.weight") == expected);
  }
}

TEST_CASE("A tied embedding is the output; pure means pure", "[quantize]") {
  const test::TempDir dir;
  const auto file = MakeFile(Layers(2, DType::kBF16, true));
  REQUIRE(Write(file, dir.File("q"), {DType::kQ4_0}).ok());
  REQUIRE(TypeIn(*GgufFile::Open(dir.File("q")).value(), "token_embd.weight") == DType::kQ6_K);
  REQUIRE(Write(file, dir.File("q"), {DType::kQ8_0}).ok());
  REQUIRE(TypeIn(*GgufFile::Open(dir.File("q")).value(), "token_embd.weight") == DType::kQ8_0);
  const QuantizeReport report = Write(file, dir.File("q"), {DType::kQ4_K, true}).value();
  REQUIRE(report.tensors.at(DType::kQ4_K) == 13);
  REQUIRE(report.tensors.at(DType::kF32) == 3);
}

TEST_CASE("Rows that are no whole super-blocks fall back, and that is said", "[quantize]") {
  const test::TempDir dir;
  const auto file = MakeFile(Layers(8, DType::kF32, false, 96));
  const QuantizeReport report = Write(file, dir.File("q"), {DType::kQ4_K}).value();
  const auto out = GgufFile::Open(dir.File("q")).value();
  REQUIRE(TypeIn(*out, "blk.1.attn_v.weight") == DType::kQ5_0);
  REQUIRE(TypeIn(*out, "output.weight") == DType::kQ8_0);
  REQUIRE(report.fallbacks.size() == 2);
  REQUIRE(report.fallbacks[0] == "41 tensors with rows of 96: Q5_0 instead of Q4_K");
  REQUIRE(report.fallbacks[1] == "9 tensors with rows of 96: Q8_0 instead of Q6_K");
  const auto odd = MakeFile(Layers(1, DType::kF32, false, 100));
  const QuantizeReport halves = Write(odd, dir.File("q"), {DType::kQ6_K}).value();
  REQUIRE(halves.fallbacks.size() == 1);
  CHECK_THAT(halves.fallbacks[0],
             ContainsSubstring("tensors with rows of 100: F16 instead of Q6_K"));
  REQUIRE(TypeIn(*GgufFile::Open(dir.File("q")).value(), "blk.0.attn_q.weight") == DType::kF16);
}

TEST_CASE("The values are those of Quantize, whatever the number of threads", "[quantize]") {
  const test::TempDir dir;
  // Rows of more than one task and of less than one batch.
  const auto file = MakeFile({{"blk.0.ffn_gate.weight", DType::kF32, {512, 1531}}});
  REQUIRE(Write(file, dir.File("one"), {DType::kQ6_K}, 1).ok());
  REQUIRE(Write(file, dir.File("three"), {DType::kQ6_K}, 3).ok());
  const auto one = GgufFile::Open(dir.File("one")).value();
  const auto three = GgufFile::Open(dir.File("three")).value();
  REQUIRE(one->contents()[0] == three->contents()[0]);
  std::vector<float> values(512 * 1531);
  std::memcpy(values.data(), file->tensors()[0].data, 4 * values.size());
  std::vector<uint8_t> expected(one->tensors()[0].bytes);
  REQUIRE(Quantize(DType::kQ6_K, values.data(), 512 * 1531, expected.data()));
  REQUIRE(std::memcmp(expected.data(), one->tensors()[0].data, expected.size()) == 0);
}

TEST_CASE("A source of the wanted type is copied, another block format is decoded", "[quantize]") {
  const test::TempDir dir;
  const auto file = MakeFile({{"blk.0.attn_q.weight", DType::kQ4_K, {256, 3}},
                              {"blk.0.attn_k.weight", DType::kQ2_K, {256, 3}}});
  const QuantizeReport report = Write(file, dir.File("q"), {DType::kQ4_K, true}).value();
  REQUIRE(report.requantized == std::vector<DType>{DType::kQ2_K});
  const auto out = GgufFile::Open(dir.File("q")).value();
  REQUIRE(std::memcmp(out->tensors()[0].data, file->tensors()[0].data, file->tensors()[0].bytes) ==
          0);
}

TEST_CASE("Bad values, types that nobody decodes and an interruption leave no file", "[quantize]") {
  const test::TempDir dir;
  GgufWriter writer;
  std::vector<float> values(2 * 256, 1.0f);
  values[300] = std::numeric_limits<float>::quiet_NaN();
  writer.AddTensor("blk.0.attn_q.weight", 0, std::vector<int64_t>{256, 2},
                   {reinterpret_cast<const char*>(values.data()), 4 * values.size()});
  const auto nan =
      Write(GgufFile::FromBytes(writer.Finish()).value(), dir.File("q"), {DType::kQ8_0});
  CHECK_THAT(std::string(Message(nan.status())),
             ContainsSubstring("tensor blk.0.attn_q.weight: row 1"));
  const auto unknown = Write(MakeFile({{"blk.0.attn_q.weight", DType::kIQ2_XS, {256, 2}}}),
                             dir.File("q"), {DType::kQ8_0});
  CHECK_THAT(std::string(Message(unknown.status())), ContainsSubstring("IQ2_XS cannot be decoded"));
  const auto file = MakeFile(Layers(2, DType::kF32, true));
  QuantizeOptions options;
  options.progress = [](double fraction, const std::string&) { return fraction < 0.5; };
  const auto stopped = QuantizeModel(GgufSource(file, false), *file, dir.File("q"), options);
  REQUIRE(stopped.status().code() == absl::StatusCode::kCancelled);
  REQUIRE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace weft
