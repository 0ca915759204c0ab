#include "libs/gguf/gguf.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "libs/base/status.h"
#include "libs/gguf/gguf_writer.h"
#include "tests/support/catch.h"

namespace weft {
namespace {

std::string SmallFile() {
  std::string data_bytes(34, '\0');
  for (size_t i = 0; i < data_bytes.size(); ++i) data_bytes[i] = static_cast<char>(i);
  const std::string_view data = data_bytes;
  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  writer.AddUint32("llama.block_count", 30);
  writer.AddInt32("small.negative", -5);
  writer.AddUint64("big", 1ull << 63);
  writer.AddFloat32("eps", 0.5f);
  writer.AddBool("tokenizer.ggml.add_bos_token", true);
  writer.AddStringArray("tokenizer.ggml.tokens", std::vector<std::string>{"a", "", "c\n"});
  writer.AddInt32Array("tokenizer.ggml.token_type", std::vector<int32_t>{1, 3, -1});
  writer.AddFloat32Array("scores", std::vector<float>{0.25f, -1.0f});
  writer.AddTensor("first", 0, std::vector<int64_t>{3, 2}, data.substr(0, 24));  // F32
  writer.AddTensor("second", 8, std::vector<int64_t>{32}, data.substr(0, 34));   // Q8_0
  return writer.Finish();
}

TEST_CASE("GgufFile reads back the metadata that was written", "[gguf]") {
  const auto file = GgufFile::FromBytes(SmallFile());
  INFO(ToString(file.status()));
  REQUIRE(file.ok());
  const GgufFile& gguf = **file;
  CHECK(gguf.version() == 3);
  CHECK(gguf.alignment() == 32);
  CHECK(gguf.GetString("general.architecture").value() == "llama");
  CHECK(gguf.GetUint("llama.block_count").value() == 30);
  CHECK(gguf.GetInt("llama.block_count").value() == 30);
  CHECK(gguf.GetInt("small.negative").value() == -5);
  CHECK(gguf.GetUint("big").value() == 1ull << 63);
  CHECK(gguf.GetFloat("eps").value() == 0.5);
  CHECK(gguf.GetBool("tokenizer.ggml.add_bos_token").value());
  CHECK(gguf.GetStringArray("tokenizer.ggml.tokens").value() ==
        std::vector<std::string_view>{"a", "", "c\n"});
  CHECK(gguf.GetIntArray("tokenizer.ggml.token_type").value() == std::vector<int64_t>{1, 3, -1});
  CHECK(gguf.GetFloatArray("scores").value() == std::vector<double>{0.25, -1.0});
  CHECK(gguf.Has("eps"));
  CHECK_FALSE(gguf.Has("ep"));
  REQUIRE(gguf.tensors().size() == 2);
  const GgufFile::Tensor* second = gguf.FindTensor("second");
  REQUIRE(second != nullptr);
  CHECK(second->dims == std::vector<int64_t>{32});
  CHECK(second->bytes == 34);
  CHECK(second->offset % 32 == 0);
  CHECK(std::string_view(reinterpret_cast<const char*>(second->data), 4) ==
        std::string_view("\0\1\2\3", 4));
  CHECK(gguf.FindTensor("third") == nullptr);
}

TEST_CASE("Typed access names the key that is missing or of another type", "[gguf]") {
  const auto file = GgufFile::FromBytes(SmallFile()).value();
  const auto message = [](const auto& result) { return std::string(Message(result.status())); };
  CHECK(file->GetUint("absent").status().code() == absl::StatusCode::kNotFound);
  CHECK(message(file->GetUint("absent")) == "metadata 'absent' is missing");
  CHECK_THAT(message(file->GetUint("small.negative")),
             ContainsSubstring("small.negative") &&
                 ContainsSubstring("out of the range of an unsigned integer"));
  CHECK_THAT(message(file->GetInt("big")), ContainsSubstring("out of the range"));
  CHECK_THAT(message(file->GetUint("eps")), ContainsSubstring("is a float32"));
  CHECK_THAT(message(file->GetString("scores")),
             ContainsSubstring("is an array of float32, not a string"));
  CHECK_FALSE(file->GetBool("eps").ok());
  CHECK_FALSE(file->GetFloat("big").ok());
  CHECK_FALSE(file->GetStringArray("scores").ok());
  CHECK_FALSE(file->GetIntArray("scores").ok());
  CHECK_FALSE(file->GetIntArray("tokenizer.ggml.tokens").ok());
}

TEST_CASE("Describe shows values for people and stays short", "[gguf]") {
  const auto file = GgufFile::FromBytes(SmallFile()).value();
  CHECK(Describe(*file->Find("general.architecture")) == "\"llama\"");
  CHECK(Describe(*file->Find("tokenizer.ggml.tokens")) == R"(["a", "", "c\n"])");
  CHECK(Describe(*file->Find("tokenizer.ggml.token_type")) == "[1, 3, -1]");
  CHECK(Describe(*file->Find("tokenizer.ggml.add_bos_token")) == "true");
  GgufWriter writer;
  writer.AddInt32Array("long", std::vector<int32_t>(100000, 7));
  writer.AddString("text", std::string(100000, 'x'));
  const auto big = GgufFile::FromBytes(writer.Finish()).value();
  CHECK(Describe(*big->Find("long"), 20) == "[7, 7, 7, 7, 7, 7, 7, ... 100000 in all]");
  CHECK(Describe(*big->Find("text"), 20).size() < 40);
}

TEST_CASE("The shipped metadata is canonical and readable", "[gguf]") {
  GgufWriter one;
  one.AddUint32("b", 1);
  one.AddString("a", "x");
  GgufWriter two;
  two.AddString("a", "x");
  two.AddUint32("b", 1);
  const auto first = GgufFile::FromBytes(one.Finish()).value();
  const auto second = GgufFile::FromBytes(two.Finish()).value();
  CHECK(SerializeMetadata(*first) == SerializeMetadata(*second));
  CHECK(MetadataSha256(*first) == MetadataSha256(*second));
  CHECK(MetadataSha256(*first).size() == 64);
  const auto shipped = GgufFile::FromBytes(SerializeMetadata(*first)).value();
  CHECK(shipped->GetString("a").value() == "x");
  CHECK(shipped->tensors().empty());
}

std::string ModelPath() {
  if (const char* model = std::getenv("WEFT_MODEL")) return model;
  const char* home = std::getenv("WEFT_HOME");
  return std::string(home ? home : ".weft") + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

TEST_CASE("The default model opens by mmap with all of its tensors", "[gguf][model]") {
  const auto file = GgufFile::Open(ModelPath());
  INFO(ToString(file.status()));
  REQUIRE(file.ok());
  CHECK((*file)->tensors().size() == 272);
  CHECK((*file)->entries().size() == 33);
  CHECK((*file)->GetStringArray("tokenizer.ggml.tokens")->size() == 49152);
  const GgufFile::Tensor* embedding = (*file)->FindTensor("token_embd.weight");
  REQUIRE(embedding != nullptr);
  CHECK(embedding->dims == std::vector<int64_t>{576, 49152});
  CHECK(embedding->offset == 1785664);
  CHECK(embedding->bytes == 576ull * 49152 / 32 * 34);
}

TEST_CASE("Open says what is wrong with a path", "[gguf]") {
  CHECK(GgufFile::Open("/nonexistent/model.gguf").status().code() == absl::StatusCode::kNotFound);
  CHECK_THAT(std::string(Message(GgufFile::Open("/").status())),
             ContainsSubstring("not a regular file"));
  const std::string path =
      (std::filesystem::temp_directory_path() / ("weft-empty-" + std::to_string(::getpid())))
          .string();
  std::ofstream(path).close();
  CHECK_THAT(std::string(Message(GgufFile::Open(path).status())),
             ContainsSubstring("magic at offset 0"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace weft
