// Byte-level BPE: text normalized, split into pieces by the family's own rules, bytes merged.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/tokenizer/bpe_merger.h"
#include "libs/tokenizer/pre_tokenizer.h"
#include "libs/tokenizer/text_encoder.h"
#include "libs/tokenizer/text_normalizer.h"

namespace weft {

// Immutable.
class ByteLevelBpe final : public TextEncoder {
 public:
  ByteLevelBpe(TextNormalizer normalizer, PreTokenizer split, std::unique_ptr<BpeMerger> merger)
      : normalizer_(std::move(normalizer)), split_(split), merger_(std::move(merger)) {}

  void Encode(std::string_view text, const TextPart& part,
              std::vector<int32_t>& out) const override;

 private:
  TextNormalizer normalizer_;
  PreTokenizer split_;
  std::unique_ptr<BpeMerger> merger_;
};

}  // namespace weft
