// Spaces in SentencePiece's manner. Inside the encoders a space stays a space: U+2581, by which the
// files write it, is read as one, in the vocabulary and in text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/tokenizer/text_encoder.h"

namespace weft {

inline constexpr std::string_view kEscapedSpace = "\xE2\x96\x81";  // U+2581

// Every U+2581 becomes a space.
std::string UnescapeSpaces(std::string_view text);

struct SpaceRules {
  // Which parts of a text a space is put before.
  enum class Prefix : uint8_t {
    kNone,
    kFirst,
    kFirstAndAfterControl,
    kEach,
    kFirstIfMissing,
    kEachIfMissing,
  };
  Prefix prefix = Prefix::kFirstAndAfterControl;
  bool remove_extra = false;  // no space at either end, and never two in a row
  bool split = false;         // each space begins a piece of its own

  // The part as it is encoded: U+2581 read as spaces, the rules applied.
  std::string Apply(std::string_view text, const TextPart& part) const;
};

}  // namespace weft
