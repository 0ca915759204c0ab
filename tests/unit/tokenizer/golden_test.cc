// Replays what Hugging Face's `tokenizers` gives: tests/data/tokenizer/make_goldens.py.
#include <fstream>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/normalization.h"
#include "libs/tokenizer/pre_tokenizer.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/unicode.h"
#include "tests/support/catch.h"
#include "tests/unit/tokenizer/model.h"

namespace weft {
namespace {

nlohmann::json ReadGolden(const std::string& name) {
  std::ifstream in("tests/data/tokenizer/" + name);
  INFO(name);
  REQUIRE(in);
  return nlohmann::json::parse(in);
}

TEST_CASE("Every pre-tokeniser splits as the reference does", "[tokenizer]") {
  const nlohmann::json texts = ReadGolden("texts.json");
  for (const char* name :
       {"gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-coder", "default", "qwen35",
        "seed-coder", "deepseek-llm", "deepseek-v3", "falcon", "gpt-4o", "tekken"}) {
    const nlohmann::json golden = ReadGolden("pieces_" + std::string(name) + ".json");
    const auto spec = PreTokenizerByName(name);
    REQUIRE(spec.has_value());
    size_t wrong = 0;
    for (size_t i = 0; i < golden.size(); ++i) {
      std::vector<size_t> ends;
      SplitPieces(spec->split, texts[i].get<std::string>(), ends);
      std::vector<size_t> lengths;
      for (size_t p = 0; p < ends.size(); ++p) lengths.push_back(ends[p] - (p ? ends[p - 1] : 0));
      if (lengths != golden[i].get<std::vector<size_t>>()) {
        UNSCOPED_INFO(name << " text " << i << ": " << texts[i].dump() << " gives "
                           << nlohmann::json(lengths).dump() << " instead of " << golden[i].dump());
        ++wrong;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("Normalization form C is the reference's", "[tokenizer]") {
  size_t changed = 0;
  for (const auto& row : ReadGolden("nfc.json")) {
    const auto text = row[0].get<std::string>();
    const auto normal = row[1].get<std::string>();
    INFO(row.dump(-1, ' ', true) << " gives "
                                 << nlohmann::json(unicode::Nfc(text)).dump(-1, ' ', true));
    CHECK(unicode::Nfc(text) == normal);
    CHECK(unicode::Nfc(normal) == normal);
    changed += text != normal ? 1 : 0;
  }
  CHECK(changed > 200);
}

TEST_CASE("All four normalization forms are the reference's", "[tokenizer]") {
  using enum unicode::NormalForm;
  for (const auto& row : ReadGolden("normal_forms.json")) {
    const auto text = row[0].get<std::string>();
    size_t column = 1;
    for (const unicode::NormalForm form : {kNfc, kNfd, kNfkc, kNfkd}) {
      const auto normal = row[column++].get<std::string>();
      INFO(row.dump(-1, ' ', true) << ": form " << column - 2);
      CHECK(unicode::Normalize(text, form) == normal);
    }
  }
}

TEST_CASE("The default model's ids are the reference's and decode to the text", "[tokenizer]") {
  const nlohmann::json texts = ReadGolden("texts.json");
  const nlohmann::json golden = ReadGolden("smollm2_ids.json");
  const std::shared_ptr<const Tokenizer> tokenizer = LoadModelTokenizer();
  REQUIRE(golden.size() == texts.size());
  size_t wrong = 0;
  size_t round_trips = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    const auto parsed = tokenizer->Encode(text, {.add_special = true, .parse_special = true});
    const auto plain = tokenizer->Encode(text, {.add_special = true, .parse_special = false});
    if (parsed != golden[i].front().get<std::vector<int32_t>>() ||
        plain != golden[i].back().get<std::vector<int32_t>>()) {
      UNSCOPED_INFO("text " << i << ": " << texts[i].dump() << " gives "
                            << nlohmann::json(plain).dump());
      ++wrong;
    }
    // The vocabulary lacks some bytes, which no encoding can keep.
    size_t bytes = 0;
    for (const int32_t id : plain) bytes += tokenizer->TokenBytes(id).size();
    if (bytes != text.size()) continue;
    ++round_trips;
    CHECK(tokenizer->Decode(plain) == text);
    StreamDetokenizer stream(tokenizer);
    std::string streamed;
    for (const int32_t id : plain) {
      const std::string part = stream.Append(id);
      CHECK(IsValidUtf8(part));
      streamed += part;
    }
    streamed += stream.Flush();
    CHECK(streamed == text);
  }
  CHECK(wrong == 0);
  CHECK(round_trips > texts.size() / 2);
}

}  // namespace
}  // namespace weft
