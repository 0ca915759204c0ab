// Unicode character classes and case mappings (tables: make_unicode_data.py,
// make_normalization_data.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weft::unicode {

enum Class : uint16_t {
  kLetter = 1,        // \p{L}
  kNumber = 2,        // \p{N}
  kPunctuation = 4,   // \p{P}
  kSpace = 8,         // \s: White_Space
  kDigitStep = 16,    // numeric for the Digits pre-tokeniser, whose Unicode version is its own
  kPrintable = 32,    // Python's str.isprintable
  kPythonSpace = 64,  // Python's str.isspace: White_Space and U+001C to U+001F
  kUpper = 128,       // \p{Lu} and \p{Lt}
  kLower = 256,       // \p{Ll}
  kMark = 512,        // \p{M}
  kSymbol = 1024,     // \p{S}
  kPunctuationStep = 2048,  // punctuation for the Punctuation pre-tokeniser, ASCII symbols too
};

// 0 beyond U+10FFFF, which is how invalid bytes are given.
uint16_t ClassOf(uint32_t code_point);
inline bool Is(uint32_t code_point, uint16_t any_of) { return (ClassOf(code_point) & any_of) != 0; }

// Python's str methods of the same names, on UTF-8; invalid bytes stay as they are.
std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string Title(std::string_view text);
std::string Capitalize(std::string_view text);

// Normalization form C. Invalid bytes stay as they are.
std::string Nfc(std::string_view text);

}  // namespace weft::unicode
