// Any bytes as a tokenizer.json: an error or a tokenizer that works.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/huggingface.h"
#include "libs/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 1u << 16) return 0;
  const auto read =
      weft::ReadTokenizerJson(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!read.ok()) return 0;
  WEFT_CHECK(read->tokens.size() == read->token_type.size());
  const auto file = weft::GgufFile::FromBytes(read->ToGguf());
  WEFT_CHECK(file.ok());
  const auto tokenizer = weft::Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) return 0;
  for (const std::string_view text : {"", "a b  ab\n", "Ünïcode 日本 🤖 \xFF", "<s>x</s>"}) {
    for (const int32_t id : (*tokenizer)->Encode(text, {.parse_special = true})) {
      WEFT_CHECK((*tokenizer)->IsValid(id));
    }
  }
  return 0;
}
