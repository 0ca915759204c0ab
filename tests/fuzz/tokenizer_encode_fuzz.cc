// Any text through every pre-tokeniser: pieces cover the text, ids stay in the vocabulary, and
// decoding gives the bytes back, whole or streamed.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/gguf/gguf_writer.h"
#include "libs/tokenizer/pre_tokenizer.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/unicode.h"

namespace {

constexpr const char* kPres[] = {
    "gpt-2",      "smollm",       "llama-bpe",   "qwen2",  "deepseek-coder", "default", "qwen35",
    "seed-coder", "deepseek-llm", "deepseek-v3", "falcon", "gpt-4o",         "tekken"};

// All 256 bytes and a few merges, spelled as byte-level vocabularies do.
std::shared_ptr<const weft::Tokenizer> Build(const char* pre) {
  std::vector<std::string> tokens;
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    std::string text;
    weft::AppendUtf8(text, printable ? b : next++);
    tokens.push_back(text);
  }
  std::vector<int32_t> types(256, 1);
  std::vector<std::string> merges;
  const auto merge = [&](int left, int right) {
    merges.push_back(tokens[static_cast<size_t>(left)] + " " + tokens[static_cast<size_t>(right)]);
    tokens.push_back(tokens[static_cast<size_t>(left)] + tokens[static_cast<size_t>(right)]);
    types.push_back(1);
    return static_cast<int>(tokens.size()) - 1;
  };
  const int aa = merge('a', 'a');
  const int spaces = merge(' ', ' ');
  merge(aa, aa);
  merge(spaces, spaces);
  merge(spaces, ' ');
  merge(' ', 'a');
  merge(0xF0, 0x9F);
  merge('\'', 's');
  tokens.insert(tokens.end(), {"<|a|>", "<|ab|>", "<u>"});
  types.insert(types.end(), {3, 3, 4});
  weft::GgufWriter writer;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", pre);
  writer.AddStringArray("tokenizer.ggml.tokens", tokens);
  writer.AddInt32Array("tokenizer.ggml.token_type", types);
  writer.AddStringArray("tokenizer.ggml.merges", merges);
  return weft::Tokenizer::FromGguf(*weft::GgufFile::FromBytes(writer.Finish()).value()).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* tokenizers = [] {
    auto* out = new std::vector<std::shared_ptr<const weft::Tokenizer>>();
    for (const char* pre : kPres) out->push_back(Build(pre));
    return out;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (size_t i = 0; i < tokenizers->size(); ++i) {
    std::vector<size_t> ends;
    const weft::PreTokenizerSpec spec = *weft::PreTokenizerByName(kPres[i]);
    weft::SplitPieces(spec.split, text, ends);
    WEFT_CHECK(text.empty() ? ends.empty() : ends.back() == text.size());
    for (size_t p = 1; p < ends.size(); ++p) WEFT_CHECK(ends[p - 1] < ends[p]);
    for (const bool parse : {false, true}) {
      const weft::Tokenizer& tokenizer = *(*tokenizers)[i];
      const auto ids = tokenizer.Encode(text, {.add_special = false, .parse_special = parse});
      std::string bytes;
      std::string streamed;
      weft::StreamDetokenizer stream((*tokenizers)[i], false);
      for (const int32_t id : ids) {
        WEFT_CHECK(tokenizer.IsValid(id));
        bytes += tokenizer.TokenBytes(id);
        streamed += stream.Append(id);
      }
      streamed += stream.Flush();
      // Some normalize; the others keep every byte.
      const bool exact = !spec.nfc;
      WEFT_CHECK(exact ? bytes == text : weft::unicode::Nfc(bytes) == weft::unicode::Nfc(text));
      WEFT_CHECK(ids.size() >= tokenizer.MinTokens(text.size()));
      WEFT_CHECK(streamed == tokenizer.Decode(ids, false));
      WEFT_CHECK(weft::IsValidUtf8(streamed));
      WEFT_CHECK(!exact || !weft::IsValidUtf8(text) || streamed == text);
    }
  }
  return 0;
}
