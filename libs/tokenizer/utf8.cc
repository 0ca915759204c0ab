#include "libs/tokenizer/utf8.h"

#include <algorithm>
#include <cstring>

namespace weft {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What the first bytes of a stream are: a character, a maximal invalid part, or not yet decided.
struct Step {
  enum Kind { kChar, kInvalid, kIncomplete } kind;
  uint32_t length;
  uint32_t code_point;
};

// Unicode, table 3-7: which second bytes are well formed after each lead byte.
Step Examine(const uint8_t* s, size_t size) {
  const uint8_t lead = s[0];
  if (lead < 0x80) return {Step::kChar, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Step::kInvalid, 1, 0};
  const uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  uint32_t code_point = lead & (0x7Fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if (i >= size) return {Step::kIncomplete, i, 0};
    if (s[i] < low || s[i] > high) return {Step::kInvalid, i, 0};
    low = 0x80;
    high = 0xBF;
    code_point = (code_point << 6) | (s[i] & 0x3Fu);
  }
  return {Step::kChar, length, code_point};
}

}  // namespace

Utf8Char DecodeMultibyte(std::string_view text, size_t at) {
  const Step step = Examine(reinterpret_cast<const uint8_t*>(text.data()) + at, text.size() - at);
  if (step.kind == Step::kChar) return {step.code_point, step.length};
  return {Utf8Char::kInvalid, 1};
}

void AppendUtf8(std::string& out, uint32_t c) {
  const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool IsValidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    if (c.code_point == Utf8Char::kInvalid) return false;
    at += c.length;
  }
  return true;
}

void Utf8Decoder::Append(std::string_view bytes, std::string& out) {
  std::string joined;
  if (pending_ > 0) {
    joined.assign(buffer_, pending_);
    joined += bytes;
    bytes = joined;
    pending_ = 0;
  }
  for (size_t at = 0; at < bytes.size();) {
    const Step step =
        Examine(reinterpret_cast<const uint8_t*>(bytes.data()) + at, bytes.size() - at);
    if (step.kind == Step::kIncomplete) {
      pending_ = step.length;
      std::memcpy(buffer_, bytes.data() + at, pending_);
      return;
    }
    if (step.kind == Step::kChar) {
      out.append(bytes.substr(at, step.length));
    } else {
      for (uint32_t i = 0; i < (each_byte_ ? step.length : 1); ++i) out += kReplacement;
    }
    at += step.length;
  }
}

void Utf8Decoder::Flush(std::string& out) {
  for (uint32_t i = 0; i < (each_byte_ ? pending_ : std::min(pending_, 1u)); ++i) {
    out += kReplacement;
  }
  pending_ = 0;
}

}  // namespace weft
