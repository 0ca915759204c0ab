// Prompts as a model's tokenizer makes them.
#include "services/scheduler/tokenizer_store.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/tokenizer/tokenizer_metadata.h"
#include "tests/support/catch.h"

namespace weft::scheduler {
namespace {

// The tokens are 0 "a", 1 "<s>", 2 "<end>" and, with one, 3 "<|endoftext|>".
std::shared_ptr<const LoadedTokenizer> Load(std::optional<int32_t> bos, bool adds_bos,
                                            std::optional<int32_t> eos, bool endoftext) {
  TokenizerMetadata m;
  m.model = "gpt2";
  m.pre = "gpt-2";
  m.tokens = {"a", "<s>", "<end>"};
  m.token_type = {1, 3, 3};
  if (endoftext) {
    m.tokens.emplace_back("<|endoftext|>");
    m.token_type.push_back(3);
  }
  m.merges = {};
  m.bos = bos;
  m.eos = eos;
  m.add_bos = adds_bos;
  auto file = GgufFile::FromBytes(m.ToGguf());
  REQUIRE(file.ok());
  auto loaded = LoadedTokenizer::FromBytes(m.ToGguf(), MetadataSha256(**file));
  REQUIRE(loaded.ok());
  return *loaded;
}

using Ids = std::vector<uint32_t>;

TEST_CASE("An empty prompt begins a document with what the model has for that", "[scheduler]") {
  CHECK(Load(1, true, 2, true)->EncodePrompt("") == Ids{1});
  CHECK(Load(1, false, 2, true)->EncodePrompt("") == Ids{1});
  CHECK(Load(std::nullopt, false, 2, true)->EncodePrompt("") == Ids{3});
  CHECK(Load(std::nullopt, false, 2, false)->EncodePrompt("") == Ids{2});
  CHECK(Load(std::nullopt, false, std::nullopt, false)->EncodePrompt("").empty());
}

TEST_CASE("A prompt begins with BOS only where the model asks for it", "[scheduler]") {
  CHECK(Load(1, true, 2, true)->EncodePrompt("aa") == Ids{1, 0, 0});
  CHECK(Load(1, false, 2, true)->EncodePrompt("aa") == Ids{0, 0});
  CHECK(Load(1, false, 2, true)->EncodePrompt("b").empty());  // a vocabulary without the byte
}

}  // namespace
}  // namespace weft::scheduler
