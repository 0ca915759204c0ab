#include "libs/store/text.h"

namespace weft::store {

// No overlong forms, no surrogates, nothing beyond U+10FFFF.
bool IsStorableText(std::string_view text) {
  size_t i = 0;
  const auto continuation = [&](size_t at, unsigned low = 0x80, unsigned high = 0xbf) {
    if (at >= text.size()) return false;
    const auto c = static_cast<unsigned char>(text[at]);
    return c >= low && c <= high;
  };
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == 0) return false;
    if (c < 0x80) {
      i += 1;
    } else if (c >= 0xc2 && c <= 0xdf) {
      if (!continuation(i + 1)) return false;
      i += 2;
    } else if (c >= 0xe0 && c <= 0xef) {
      if (!continuation(i + 1, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf) ||
          !continuation(i + 2)) {
        return false;
      }
      i += 3;
    } else if (c >= 0xf0 && c <= 0xf4) {
      if (!continuation(i + 1, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf) ||
          !continuation(i + 2) || !continuation(i + 3)) {
        return false;
      }
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

std::string StorableText(std::string_view text, size_t limit) {
  text = text.substr(0, limit);
  std::string out(text);
  if (IsStorableText(text)) return out;
  for (char& c : out) {
    if (static_cast<unsigned char>(c) >= 0x80 || c == 0) c = '?';
  }
  return out;
}

}  // namespace weft::store
