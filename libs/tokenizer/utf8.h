// UTF-8 (RFC 3629): decoding, and repair of invalid bytes as Unicode 3.9 recommends (one U+FFFD
// for each maximal subpart), which is also what Python's errors="replace" does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weft {

// The character at `at` (< text.size()). An invalid byte has code point kInvalid and length 1.
struct Utf8Char {
  static constexpr uint32_t kInvalid = 0xFFFFFFFFu;
  uint32_t code_point;
  uint32_t length;
};
Utf8Char DecodeMultibyte(std::string_view text, size_t at);
inline Utf8Char DecodeUtf8(std::string_view text, size_t at) {
  const auto byte = static_cast<uint8_t>(text[at]);
  return byte < 0x80 ? Utf8Char{byte, 1} : DecodeMultibyte(text, at);
}

// `code_point` must be below 0x110000.
void AppendUtf8(std::string& out, uint32_t code_point);

bool IsValidUtf8(std::string_view text);

// Repairs a stream of bytes that arrives in pieces. Not thread safe.
class Utf8Decoder {
 public:
  // With each_byte, every byte of an invalid part is replaced by its own U+FFFD, as SentencePiece
  // does it.
  explicit Utf8Decoder(bool each_byte = false) : each_byte_(each_byte) {}

  // Appends the complete characters to `out`, keeps an unfinished one.
  void Append(std::string_view bytes, std::string& out);
  // Appends U+FFFD for an unfinished character.
  void Flush(std::string& out);
  size_t pending() const { return pending_; }

 private:
  char buffer_[4] = {};
  uint32_t pending_ = 0;
  bool each_byte_;
};

}  // namespace weft
