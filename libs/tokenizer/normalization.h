// The four Unicode normalization forms (UAX 15).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weft::unicode {

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

// Invalid bytes stay as they are.
std::string Normalize(std::string_view text, NormalForm form);

}  // namespace weft::unicode
