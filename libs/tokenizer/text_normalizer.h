// What happens to text before it is split: the steps of weft.tokenizer.normalizer
// (tokenizer_metadata.h), which are those of Hugging Face's library.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/tokenizer/charsmap.h"
#include "libs/tokenizer/normalization.h"

namespace weft {

// Immutable, thread safe.
class TextNormalizer {
 public:
  TextNormalizer() = default;  // changes nothing
  // UNIMPLEMENTED or INVALID_ARGUMENT name weft.tokenizer.normalizer[i]. `charsmap` is what the
  // step "precompiled" uses; it may be null when no step is.
  static absl::StatusOr<TextNormalizer> Create(std::span<const std::string_view> steps,
                                               std::shared_ptr<const Charsmap> charsmap);

  bool empty() const { return steps_.empty(); }
  // The normalized text: `text` itself or `buffer`. Invalid bytes stay as they are.
  std::string_view Apply(std::string_view text, std::string& buffer) const;

  // How many bytes of a text one byte of its normalized form may stand for, at most; 0: no bound.
  size_t MostBytesPerByte() const;

 private:
  struct Step {
    enum Kind {
      kForm,
      kLowercase,
      kStripLeft,
      kStripRight,
      kPrepend,
      kReplace,
      kReplaceRuns,
      kPrecompiled,
    } kind;
    std::string from;
    std::string to;
    unicode::NormalForm form = unicode::NormalForm::kNfc;
  };
  static std::string Run(const Step& step, const Charsmap* charsmap, std::string_view text);

  std::vector<Step> steps_;
  std::shared_ptr<const Charsmap> charsmap_;
};

}  // namespace weft
