#include "libs/tokenizer/sentencepiece_vocab.h"

#include <algorithm>

namespace weft {

int ByteOfName(std::string_view name) {
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') return -1;
  int byte = 0;
  for (const char c : name.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

UnknownText::UnknownText(const SentencePieceVocab& vocab) : unknown_(vocab.unknown) {
  std::fill(std::begin(byte_tokens_), std::end(byte_tokens_), -1);
  for (size_t i = 0; i < vocab.texts.size(); ++i) {
    const int byte = vocab.kinds[i] == TokenKind::kByte ? ByteOfName(vocab.texts[i]) : -1;
    if (byte >= 0) byte_tokens_[byte] = static_cast<int32_t>(i);
  }
  has_all_bytes_ =
      std::find(std::begin(byte_tokens_), std::end(byte_tokens_), -1) == std::end(byte_tokens_);
}

bool UnknownText::Append(std::string_view bytes, bool after_unknown,
                         std::vector<int32_t>& out) const {
  if (!has_all_bytes_) {
    if (!after_unknown && unknown_ >= 0) out.push_back(unknown_);
    return true;
  }
  for (const char c : bytes) out.push_back(byte_tokens_[static_cast<uint8_t>(c)]);
  return false;
}

}  // namespace weft
