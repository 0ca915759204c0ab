// SentencePiece's compiled normalisation rules (precompiled_charsmap): a double-array trie of the
// texts to replace, then what replaces them. Format: NormalizerSpec in sentencepiece_model.proto,
// and the units of https://github.com/s-yata/darts-clone.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

// Immutable, thread safe.
class Charsmap {
 public:
  // Any bytes are safe; INVALID_ARGUMENT when the sizes in them do not fit.
  static absl::StatusOr<std::shared_ptr<const Charsmap>> Create(std::string_view blob);

  // The replacement of the longest rule that `text` begins with, and its length; a length of 0 when
  // no rule fits.
  struct Match {
    std::string_view to;
    size_t length = 0;
  };
  Match Find(std::string_view text) const;

  // Every rule applied, from the left.
  std::string Apply(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;  // each ends with a zero
};

}  // namespace weft
