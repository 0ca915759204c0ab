// Folders turned into GGUF files, beside what llama.cpp's converter makes of the same folders.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "libs/base/ids.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/model/gguf_source.h"
#include "libs/quantize/open_source.h"
#include "libs/quantize/quantize_model.h"
#include "libs/quantize/quantizers.h"
#include "libs/tokenizer/tokenizer.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/model/family_goldens.h"

namespace weft {
namespace {

using nlohmann::json;
using test::FamilyFolder;
using test::Golden;
using test::Ref;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

QuantizeInput Open(const std::string& folder) {
  absl::StatusOr<QuantizeInput> input = OpenForQuantizing(folder);
  INFO(ToString(input.status()));
  REQUIRE(input.ok());
  return *std::move(input);
}

std::string Error(const std::string& folder) {
  const auto input = OpenForQuantizing(folder);
  return input.ok() ? "no error" : ToString(input.status());
}

// A copy of a family's folder, with changes (null: without the key) of its config.json.
void CopyFolder(const std::string& from, const json& changes, const std::string& to) {
  namespace fs = std::filesystem;
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    if (entry.path().string().find(".safetensors") == std::string::npos) continue;
    fs::create_symlink(fs::absolute(entry.path()), to + "/" + entry.path().filename().string());
  }
  json config = test::ReadJson(from + "/config.json");
  const bool scaling = changes.contains("rope_parameters");
  if (scaling) {  // in one of two spellings
    config.erase("rope_theta");
    config.erase("rope_scaling");
  }
  config.merge_patch(changes);
  if (scaling) config["rope_parameters"] = changes["rope_parameters"];
  std::ofstream(to + "/config.json") << config.dump();
}

std::string Bytes(const json& hex) {
  const auto text = hex.get<std::string>();
  std::vector<uint8_t> bytes(text.size() / 2);
  REQUIRE(ParseHex(text, bytes));
  return {bytes.begin(), bytes.end()};
}

std::string Converted(const QuantizeInput& input, DType type, const std::string& to) {
  QuantizeOptions options;
  options.mix.type = type;
  options.threads = 1;
  const auto report = QuantizeModel(*input.tensors, *input.metadata, to, options);
  INFO(ToString(report.status()));
  REQUIRE(report.ok());
  return to;
}

TEST_CASE("A folder written as GGUF computes what transformers computes from the folder",
          "[quantize][families]") {
  const std::string name =
      GENERATE(from_range(std::begin(test::kFamilies), std::end(test::kFamilies)));
  CAPTURE(name);
  const test::TempDir dir;
  const std::string file = Converted(Open(FamilyFolder(name)), DType::kF32, dir.File("m.gguf"));
  test::CheckGolden(*test::LoadModel(file, Ref()), Golden(name));
}

// The file that llama.cpp's converter wrote: its beginning is kept, the tensors are ours, in its
// order and types.
std::string LlamaCppFile(const std::string& name, const TensorSource& tensors, const json& kept) {
  std::string file = ReadFile(FamilyFolder(name) + "/llama_cpp.head");
  // Parsed with room for the tensors behind it.
  const auto padded = GgufFile::FromBytes(file + std::string(1 << 20, '\0'));
  INFO(ToString(padded.status()));
  REQUIRE(padded.ok());
  for (const GgufFile::Tensor& tensor : (*padded)->tensors()) {
    CAPTURE(tensor.name);
    REQUIRE(file.size() <= tensor.offset);
    file.resize(tensor.offset);
    if (kept["computed"].contains(tensor.name)) {
      file += Bytes(kept["computed"][tensor.name]);
      continue;
    }
    const Tensor* own = tensors.Find(tensor.name);
    REQUIRE(own != nullptr);
    REQUIRE(own->dims == tensor.dims);
    std::vector<float> values(static_cast<size_t>(own->elements()));
    REQUIRE(Dequantize(own->type, own->data, own->elements(), values.data()));
    std::string bytes(tensor.bytes, '\0');
    REQUIRE(Quantize(tensor.type, values.data(), own->elements(),
                     reinterpret_cast<uint8_t*>(bytes.data())));
    file += bytes;
  }
  file.resize((file.size() + 31) / 32 * 32);
  return file;
}

TEST_CASE("A file of llama.cpp's converter computes what its folder does, and has our tensors",
          "[quantize][families]") {
  int found = 0;
  for (const std::string name : test::kFamilies) {
    if (!std::ifstream(FamilyFolder(name) + "/llama_cpp.json").good()) continue;
    ++found;
    CAPTURE(name);
    const json kept = test::ReadJson(FamilyFolder(name) + "/llama_cpp.json");
    const test::TempDir dir;
    CopyFolder(FamilyFolder(name), kept["config"], dir.File("folder"));
    const QuantizeInput input = Open(dir.File("folder"));
    const std::string bytes = LlamaCppFile(name, *input.tensors, kept);
    auto gguf = GgufFile::FromBytes(bytes);
    INFO(ToString(gguf.status()));
    REQUIRE(gguf.ok());
    CHECK(GgufSource(*gguf, /*mapped=*/false).Sha256() == kept["sha256"].get<std::string>());
    const auto theirs = test::LoadModel(*gguf, Ref());
    if (kept["config"].empty()) {
      test::CheckGolden(*theirs, Golden(name));
      continue;
    }
    const auto folder = test::LoadModel(dir.File("folder"), Ref());
    test::CheckSameText(*folder, *theirs, Golden(name));
  }
  CHECK(found == 18);
}

// Older converters leave latent attention's expansion beside its two parts.
TEST_CASE("A DeepSeek-V2 file with the expansion in one piece and in two is read",
          "[quantize][families]") {
  const std::string name = GENERATE("deepseek_v2", "deepseek_v2_lite");
  const QuantizeInput input = Open(FamilyFolder(name));
  const ModelSource folder = ModelSource::Open(FamilyFolder(name)).value();
  GgufWriter writer;
  for (const GgufFile::Entry& entry : input.metadata->entries()) writer.AddEntry(entry);
  const auto add = [&writer](const Tensor& tensor) {
    writer.AddTensor(tensor.name, static_cast<uint32_t>(tensor.type), tensor.dims,
                     {reinterpret_cast<const char*>(tensor.data), tensor.bytes});
  };
  const bool both = GENERATE(true, false);
  CAPTURE(name, both);
  for (const Tensor& tensor : folder.tensors->tensors()) add(tensor);
  for (const Tensor& tensor : input.tensors->tensors()) {
    if (both && folder.tensors->Find(tensor.name) == nullptr) add(tensor);
  }
  auto file = GgufFile::FromBytes(writer.Finish()).value();
  test::CheckGolden(*test::LoadModel(std::move(file), Ref()), Golden(name));
}

TEST_CASE("What GGUF cannot say is refused by name", "[quantize][families]") {
  const test::TempDir dir;
  int number = 0;
  const auto error = [&](const std::string& name, const json& changes) {
    const std::string to = dir.File("folder" + std::to_string(++number));
    CopyFolder(FamilyFolder(name), changes, to);
    return Error(to);
  };
  CHECK_THAT(error("llama3", {{"hidden_act", "gelu"}}), ContainsSubstring("activation"));
  CHECK_THAT(error("qwen2", {{"rope_parameters",
                              {{"rope_type", "yarn"},
                               {"rope_theta", 10000.0},
                               {"factor", 4.0},
                               {"truncate", false},
                               {"original_max_position_embeddings", 32}}}}),
             ContainsSubstring("rotary angles"));
  CHECK(error("qwen3", {{"norm_topk_prob", true}}) == "no error");
  CHECK_THAT(Error(dir.File("nowhere")), ContainsSubstring("nowhere"));
}

TEST_CASE("RoPE factors are those of llama.cpp's converter", "[quantize][families]") {
  for (const std::string name : {"llama3", "phi3_long", "phi3_short"}) {
    const QuantizeInput input = Open(FamilyFolder(name));
    const json kept = test::ReadJson(FamilyFolder(name) + "/llama_cpp.json");
    REQUIRE(!kept["computed"].empty());
    for (const auto& [tensor, hex] : kept["computed"].items()) {
      const std::string bytes = Bytes(hex);
      const Tensor* own = input.tensors->Find(tensor);
      REQUIRE(own != nullptr);
      REQUIRE(own->bytes == bytes.size());
      for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
        float theirs = 0;
        float ours = 0;
        std::memcpy(&theirs, bytes.data() + at, sizeof(float));
        std::memcpy(&ours, own->data + at, sizeof(float));
        CHECK(std::abs(ours - theirs) <= 1e-6f * theirs);
      }
    }
  }
}

}  // namespace
}  // namespace weft
