#include "libs/tokenizer/byte_level_bpe.h"

#include <string>

namespace weft {

void ByteLevelBpe::Encode(std::string_view raw, const TextPart&, std::vector<int32_t>& out) const {
  std::string buffer;
  const std::string_view text = normalizer_.Apply(raw, buffer);
  std::vector<size_t> ends;
  SplitPieces(split_, text, ends);
  size_t begin = 0;
  for (const size_t end : ends) {
    merger_->Encode(text.substr(begin, end - begin), out);
    begin = end;
  }
}

}  // namespace weft
