#include "libs/telemetry/json_text.h"

#include <cstdint>

namespace weft::telemetry {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

unsigned char Byte(std::string_view text, size_t at) {
  return at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
}

bool In(unsigned char byte, unsigned char low, unsigned char high) {
  return byte >= low && byte <= high;
}

// How many bytes one U+FFFD stands for: the longest start of a valid character, at least one.
size_t InvalidLength(std::string_view text) {
  const unsigned char b0 = Byte(text, 0);
  const unsigned char b1 = Byte(text, 1);
  const unsigned char b2 = Byte(text, 2);
  if (In(b0, 0xE1, 0xEC) || In(b0, 0xEE, 0xEF)) return In(b1, 0x80, 0xBF) ? 2 : 1;
  if (b0 == 0xE0) return In(b1, 0xA0, 0xBF) ? 2 : 1;
  if (b0 == 0xED) return In(b1, 0x80, 0x9F) ? 2 : 1;
  if (In(b0, 0xF0, 0xF4)) {
    const bool second = b0 == 0xF0   ? In(b1, 0x90, 0xBF)
                        : b0 == 0xF4 ? In(b1, 0x80, 0x8F)
                                     : In(b1, 0x80, 0xBF);
    if (!second) return 1;
    return In(b2, 0x80, 0xBF) ? 3 : 2;
  }
  return 1;
}

}  // namespace

// Table 3-7 of the Unicode standard.
size_t ValidUtf8Prefix(std::string_view text) {
  if (text.empty()) return 0;
  const unsigned char b0 = Byte(text, 0);
  if (b0 < 0x80) return 1;
  if (In(b0, 0xC2, 0xDF)) return In(Byte(text, 1), 0x80, 0xBF) ? 2 : 0;
  const size_t invalid = InvalidLength(text);
  if (In(b0, 0xE0, 0xEF)) return invalid == 2 && In(Byte(text, 2), 0x80, 0xBF) ? 3 : 0;
  if (In(b0, 0xF0, 0xF4)) return invalid == 3 && In(Byte(text, 3), 0x80, 0xBF) ? 4 : 0;
  return 0;
}

std::string ValidUtf8(std::string_view text, size_t limit) {
  std::string out;
  out.reserve(text.size() < limit ? text.size() : limit);
  while (!text.empty()) {
    const size_t valid = ValidUtf8Prefix(text);
    const std::string_view piece = valid > 0 ? text.substr(0, valid) : kReplacement;
    if (out.size() + piece.size() > limit) break;
    out += piece;
    text.remove_prefix(valid > 0 ? valid : InvalidLength(text));
  }
  return out;
}

void AppendJsonString(std::string& out, std::string_view text, size_t limit) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  const size_t begin = out.size();
  while (!text.empty()) {
    if (out.size() - begin >= limit) {
      out += "…";
      break;
    }
    const auto byte = static_cast<unsigned char>(text.front());
    if (byte >= 0x80) {
      const size_t valid = ValidUtf8Prefix(text);
      out += valid > 0 ? text.substr(0, valid) : kReplacement;
      text.remove_prefix(valid > 0 ? valid : InvalidLength(text));
      continue;
    }
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text.front();
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += text.front();
    }
    text.remove_prefix(1);
  }
  out += '"';
}

}  // namespace weft::telemetry
