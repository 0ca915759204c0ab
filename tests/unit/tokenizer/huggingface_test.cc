// Folders as models come in, and the differential goldens of tests/data/tokenizer/differential.py.
#include "libs/tokenizer/huggingface.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/utf8.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace weft {
namespace {

using Ids = std::vector<int32_t>;
using nlohmann::json;

absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadFolder(const std::string& folder) {
  WEFT_ASSIGN_OR_RETURN(std::string bytes, GgufMetadataFromHuggingFace(folder));
  WEFT_ASSIGN_OR_RETURN(const auto file, GgufFile::FromBytes(std::move(bytes)));
  return Tokenizer::FromGguf(*file);
}

// What Qwen's file looks like, small.
json ByteLevelJson() {
  return json::parse(R"({
    "version": "1.0",
    "added_tokens": [
      {"id": 4, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 6, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": true,
       "normalized": false, "special": false}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
       "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]},
    "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
              "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
              "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]}})");
}

std::string ErrorOf(const json& root) {
  return std::string(Message(ReadTokenizerJson(root.dump()).status()));
}

TEST_CASE("A byte-level tokenizer.json becomes GGUF metadata", "[huggingface]") {
  const auto read = ReadTokenizerJson(ByteLevelJson().dump());
  REQUIRE(read.ok());
  CHECK(read->model == "gpt2");
  CHECK(read->pre == "stablelm2");
  CHECK(read->normalizer == std::vector<std::string>{"nfc"});
  CHECK(read->tokens ==
        std::vector<std::string>{"a", "b", "ab", "Ġ", "<|end|>", "[PAD5]", "<tool>"});
  CHECK(read->token_type == Ids{1, 1, 1, 1, 3, 5, 4});
  CHECK(read->merges == std::vector<std::string>{"a b"});
  CHECK(read->strip_right == Ids{6});
  const auto tokenizer = Tokenizer::FromGguf(*GgufFile::FromBytes(read->ToGguf()).value()).value();
  CHECK(tokenizer->Encode("ab<|end|><tool>  ab") == Ids{2, 6, 2});
  CHECK(tokenizer->Encode("ab<|end|>", {.parse_special = true}) == Ids{2, 4});
}

TEST_CASE("What a tokenizer.json holds that is not known is an error with its path",
          "[huggingface]") {
  json root = ByteLevelJson();
  root["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+";
  CHECK_THAT(ErrorOf(root), ContainsSubstring("no known model family splits by Split \\w+"));
  root["pre_tokenizer"]["pretokenizers"][0] = {{"type", "Whitespace"}};
  CHECK_THAT(ErrorOf(root),
             ContainsSubstring("pre_tokenizer.pretokenizers[0].type 'Whitespace' is not"));
  root = ByteLevelJson();
  root["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
  CHECK_THAT(ErrorOf(root), ContainsSubstring("pre_tokenizer.pretokenizers[1].add_prefix_space"));
  root = ByteLevelJson();
  root["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "BertNormalizer"}}}}};
  CHECK_THAT(ErrorOf(root), ContainsSubstring("normalizer.normalizers[0].type 'BertNormalizer'"));
  root = ByteLevelJson();
  root["model"]["merges"][0] = {"a", 1};
  CHECK_THAT(ErrorOf(root), ContainsSubstring("model.merges[0] is not a pair"));
  root = ByteLevelJson();
  root["model"]["vocab"]["c"] = 0;
  CHECK_THAT(ErrorOf(root), ContainsSubstring("model.vocab: 'a' and 'c' are both 0"));
  root["model"]["vocab"]["c"] = 1u << 30;
  CHECK_THAT(ErrorOf(root), ContainsSubstring("model.vocab['c'] is not a number below"));
  root = ByteLevelJson();
  root["added_tokens"][1]["single_word"] = true;
  CHECK_THAT(ErrorOf(root), ContainsSubstring("added_tokens[1].single_word is not supported"));
  root = ByteLevelJson();
  root["model"]["type"] = "WordPiece";
  CHECK_THAT(ErrorOf(root), ContainsSubstring("model.type 'WordPiece'"));
  root = ByteLevelJson();
  root["pre_tokenizer"] = nullptr;
  CHECK_THAT(ErrorOf(root), ContainsSubstring("pre_tokenizer: neither ByteLevel nor Metaspace"));
  CHECK_THAT(std::string(Message(ReadTokenizerJson("{").status())), ContainsSubstring("at byte"));
  CHECK_THAT(ErrorOf(json::array()), ContainsSubstring("not a JSON object"));
}

void Write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST_CASE("A folder's configuration names begin, end and chat template", "[huggingface]") {
  const test::TempDir dir;
  const std::filesystem::path folder = dir.path();
  CHECK_THAT(std::string(Message(LoadFolder(folder).status())),
             ContainsSubstring("neither tokenizer.json nor tokenizer.model"));
  Write(folder / "tokenizer.json", ByteLevelJson().dump());
  CHECK(LoadFolder(folder).value()->eos() == -1);
  Write(folder / "special_tokens_map.json", R"({"eos_token": {"content": "b"}})");
  Write(folder / "tokenizer_config.json",
        R"({"bos_token": "a", "eos_token": {"content": "<|end|>"}, "add_bos_token": true,
            "chat_template": [{"name": "tool_use", "template": "T"},
                              {"name": "default", "template": "D"}]})");
  Write(folder / "generation_config.json", R"({"eos_token_id": [4, 6]})");
  auto tokenizer = LoadFolder(folder).value();
  CHECK(tokenizer->bos() == 0);
  CHECK(tokenizer->eos() == 4);
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->end_of_generation_ids() == Ids{4, 6});
  CHECK(tokenizer->chat_template() == "D");
  Write(folder / "chat_template.jinja", "J");
  CHECK(LoadFolder(folder).value()->chat_template() == "J");
  Write(folder / "generation_config.json", R"({"eos_token_id": 7})");
  CHECK_THAT(std::string(Message(LoadFolder(folder).status())),
             ContainsSubstring("generation_config.json': eos_token_id") ||
                 ContainsSubstring("generation_config.json: eos_token_id"));
  Write(folder / "tokenizer_config.json", R"({"bos_token": "nobody"})");
  CHECK_THAT(std::string(Message(LoadFolder(folder).status())),
             ContainsSubstring("tokenizer_config.json") &&
                 ContainsSubstring("bos_token 'nobody' is not in the vocabulary"));
  Write(folder / "tokenizer.json", "[");
  CHECK_THAT(std::string(Message(LoadFolder(folder).status())),
             ContainsSubstring("tokenizer.json"));
}

TEST_CASE("A tokenizer.model takes its added tokens from the configuration", "[huggingface]") {
  const test::TempDir dir;
  const std::filesystem::path folder = dir.path();
  std::filesystem::copy_file("tests/data/tokenizer/differential/sp-llama/tokenizer.model",
                             folder / "tokenizer.model");
  const int32_t size = LoadFolder(folder).value()->vocab_size();
  Write(folder / "tokenizer_config.json",
        fmt::format(R"({{"eos_token": "<|im_end|>", "added_tokens_decoder": {{
          "{}": {{"content": "<|im_end|>", "special": true, "rstrip": true}},
          "{}": {{"content": "<think>", "special": false}}}}}})",
                    size + 1, size));
  const auto tokenizer = LoadFolder(folder).value();
  CHECK(tokenizer->vocab_size() == size + 2);
  CHECK(tokenizer->eos() == size + 1);
  CHECK(tokenizer->Encode("<think><|im_end|>\n", {.parse_special = true}).back() == size + 1);
  CHECK(tokenizer->Encode("x<think>", {.add_special = false}).back() == size);
  CHECK(tokenizer->Encode("<|im_end|>").back() != size + 1);
  Write(folder / "tokenizer_config.json", R"({"added_tokens_decoder": {"x": {}}})");
  CHECK_THAT(std::string(Message(LoadFolder(folder).status())),
             ContainsSubstring("added_tokens_decoder['x']"));
}

TEST_CASE("A tokenizer.model that is cut or wrong is refused with an offset", "[huggingface]") {
  std::ifstream in("tests/data/tokenizer/differential/sp-llama/tokenizer.model", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  REQUIRE(whole.size() > 1000);
  REQUIRE(ReadSentencePieceModel(whole).ok());
  for (size_t size = 0; size < 300; ++size) {
    const auto cut = ReadSentencePieceModel(std::string_view(whole).substr(0, size));
    if (cut.ok()) continue;  // between two pieces
    CHECK_THAT(std::string(Message(cut.status())),
               ContainsSubstring("offset") || ContainsSubstring("it has no pieces"));
  }
  CHECK_THAT(std::string(Message(
                 ReadSentencePieceModel(std::string("\x0A\xFF\xFF\xFF\xFF\x0F", 6)).status())),
             ContainsSubstring("offset 6: field 1 has 4294967295 bytes, but 0 are left"));
  CHECK_THAT(std::string(Message(ReadSentencePieceModel("\x0B").status())),
             ContainsSubstring("wire type 3"));
  CHECK_THAT(std::string(Message(ReadSentencePieceModel(std::string(11, '\xFF')).status())),
             ContainsSubstring("more than ten bytes"));
}

// Ids and texts of `tokenizers` and `sentencepiece` for vocabularies that were trained for it.
TEST_CASE("Every kind of folder encodes and decodes as the reference does", "[huggingface]") {
  std::ifstream in("tests/data/tokenizer/texts.json");
  const json texts = json::parse(in);
  size_t folders = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("tests/data/tokenizer/differential")) {
    INFO(entry.path().string());
    const auto tokenizer = LoadFolder(entry.path());
    if (!tokenizer.ok()) FAIL(ToString(tokenizer.status()));
    std::ifstream answers_file(entry.path() / "answers.json");
    const json answers = json::parse(answers_file);
    REQUIRE(answers.size() == (texts.size() + 19) / 20);
    size_t wrong = 0;
    for (size_t i = 0; i < answers.size(); ++i) {
      const auto text = texts[i * 20].get<std::string>();
      const Ids ids = (*tokenizer)->Encode(text, {.add_special = false});
      const std::string decoded = (*tokenizer)->Decode(ids);
      if (ids != answers[i][0].get<Ids>() || decoded != answers[i][1].get<std::string>()) {
        UNSCOPED_INFO(json(text).dump()
                      << " gives " << json(ids).dump() << " and " << json(decoded).dump()
                      << " instead of " << answers[i].dump());
        ++wrong;
      }
      StreamDetokenizer stream(*tokenizer, true, true);
      std::string streamed;
      for (const int32_t id : ids) {
        const std::string part = stream.Append(id);
        CHECK(IsValidUtf8(part));
        streamed += part;
      }
      CHECK(streamed + stream.Flush() == decoded);
      CHECK(ids.size() >= (*tokenizer)->MinTokens(text.size()));
    }
    CHECK(wrong == 0);
    ++folders;
  }
  CHECK(folders == 23);
}

}  // namespace
}  // namespace weft
