// What Weft's tokenizer says about a file of texts, for tests/data/tokenizer/differential.py:
//   tokenizer_answers TOKENIZER [bare] < texts > answers
// TOKENIZER is a GGUF file or a folder of Hugging Face; with `bare` no begin and end tokens are
// added. A text is its length (uint32, little endian) and its bytes; an answer is the number of
// ids, the ids (uint32, int32 ...), and the decoded text as a text.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/tokenizer/model_metadata.h"
#include "libs/tokenizer/stream_detokenizer.h"
#include "libs/tokenizer/tokenizer.h"

namespace {

absl::StatusOr<std::shared_ptr<const weft::Tokenizer>> Load(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(const auto file, weft::OpenModelMetadata(path));
  return weft::Tokenizer::FromGguf(*file);
}

bool Read(void* to, size_t size) { return std::fread(to, 1, size, stdin) == size; }
void Write(const void* from, size_t size) { std::fwrite(from, 1, size, stdout); }
void WriteSize(size_t size) {
  const auto value = static_cast<uint32_t>(size);
  Write(&value, sizeof(value));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenizer_answers TOKENIZER [bare] < texts > answers\n");
    return 2;
  }
  const auto tokenizer = Load(argv[1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", weft::ToString(tokenizer.status()).c_str());
    return 1;
  }
  uint32_t size = 0;
  std::string text;
  while (Read(&size, sizeof(size))) {
    text.resize(size);
    if (!Read(text.data(), size)) return 1;
    const std::vector<int32_t> ids = (*tokenizer)->Encode(text, {.add_special = argc == 2});
    WriteSize(ids.size());
    Write(ids.data(), ids.size() * sizeof(int32_t));
    const std::string decoded = (*tokenizer)->Decode(ids);
    weft::StreamDetokenizer stream(*tokenizer, true, true);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.Append(id);
    WEFT_CHECK(streamed + stream.Flush() == decoded);
    WriteSize(decoded.size());
    Write(decoded.data(), decoded.size());
  }
  return 0;
}
