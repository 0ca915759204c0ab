#include "services/weftctl/printable.h"

#include "libs/tokenizer/utf8.h"

namespace weft::ctl {
namespace {

bool IsHarmless(uint32_t c) {
  if (c == Utf8Char::kInvalid || c < 0x20 || (c >= 0x7f && c < 0xa0)) return false;
  if (c == 0x061c || c == 0x200e || c == 0x200f) return false;  // marks of direction
  if (c >= 0x2028 && c <= 0x202e) return false;  // line separators, embeddings, overrides
  return c < 0x2066 || c > 0x2069;               // isolates
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = DecodeUtf8(text, at);
    if (IsHarmless(next.code_point)) {
      out += text.substr(at, next.length);
    } else {
      out += '?';
    }
    at += next.length;
  }
  return out;
}

}  // namespace weft::ctl
