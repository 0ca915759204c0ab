// Any text through SentencePiece's kinds of tokenizers: ids stay in the vocabulary, decoding gives
// the bytes back where the vocabulary has byte tokens, whole or streamed.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/spaces.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/tokenizer_metadata.h"
#include "libs/tokenizer/utf8.h"

namespace {

std::shared_ptr<const weft::Tokenizer> Build(const char* model, bool with_bytes, bool prefix) {
  weft::TokenizerMetadata metadata;
  metadata.model = model;
  const auto add = [&metadata](const std::string& text, double score, weft::TokenKind kind) {
    metadata.tokens.push_back(text);
    metadata.scores.push_back(score);
    metadata.token_type.push_back(static_cast<int32_t>(kind));
  };
  add("<unk>", 0, weft::TokenKind::kUnknown);
  add("<s>", 0, weft::TokenKind::kControl);
  add("<user>", 0, weft::TokenKind::kUserDefined);
  double score = -1;
  for (const char* text : {"aa", "▁a", "▁▁", "aaaa", "▁▁▁▁", "ab", "aba", "é", "日本", "日", "a",
                           "b", "▁", "本", "\n", "🤖", "🤖🤖"}) {
    add(text, score--, weft::TokenKind::kNormal);
  }
  add("abab", -2.5, weft::TokenKind::kUnused);
  for (unsigned byte = 0; with_bytes && byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    add(name, 0, weft::TokenKind::kByte);
  }
  metadata.add_space_prefix = prefix;
  metadata.remove_extra_whitespaces = !with_bytes;
  return weft::Tokenizer::FromGguf(*weft::GgufFile::FromBytes(metadata.ToGguf()).value()).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* tokenizers = [] {
    auto* out = new std::vector<std::shared_ptr<const weft::Tokenizer>>();
    for (const char* model : {"llama", "t5"}) {
      out->push_back(Build(model, true, false));
      out->push_back(Build(model, true, true));
      out->push_back(Build(model, false, true));
    }
    return out;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (size_t i = 0; i < tokenizers->size(); ++i) {
    const weft::Tokenizer& tokenizer = *(*tokenizers)[i];
    const auto ids = tokenizer.Encode(text, {.add_special = false});
    std::string bytes;
    std::string streamed;
    weft::StreamDetokenizer stream((*tokenizers)[i], true, true);
    for (const int32_t id : ids) {
      WEFT_CHECK(tokenizer.IsValid(id));
      WEFT_CHECK(!tokenizer.IsControl(id) || i % 3 == 2);
      bytes += tokenizer.TokenBytes(id);
      streamed += stream.Append(id);
    }
    streamed += stream.Flush();
    WEFT_CHECK(streamed == tokenizer.Decode(ids));
    WEFT_CHECK(weft::IsValidUtf8(streamed));
    WEFT_CHECK(ids.size() >= tokenizer.MinTokens(text.size()));
    const std::string plain = weft::UnescapeSpaces(text);
    if (i % 3 == 0) WEFT_CHECK(bytes == plain);
    if (i % 3 == 1) WEFT_CHECK(bytes == (plain.empty() ? "" : " " + plain));
  }
  return 0;
}
