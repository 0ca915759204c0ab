// Builds a Tokenizer from the metadata of one GGUF file. Internal to Tokenizer.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/gguf/gguf.h"
#include "libs/tokenizer/charsmap.h"
#include "libs/tokenizer/pre_tokenizer.h"
#include "libs/tokenizer/text_normalizer.h"
#include "libs/tokenizer/tokenizer.h"
#include "libs/tokenizer/tokenizer_metadata.h"

namespace weft {

class TokenizerLoader {
 public:
  TokenizerLoader(const GgufFile& file, Tokenizer& out) : file_(file), out_(out) {}

  // Errors name the key.
  absl::Status Run();

 private:
  absl::Status ReadVocabulary();
  absl::Status ReadByteLevel();
  absl::Status ReadSentencePiece(bool unigram);
  absl::StatusOr<TextNormalizer> ReadNormalizer(std::vector<std::string_view> steps);
  absl::Status ReadSpecials();
  absl::Status ReadStrips();
  absl::Status ReadPolicy();
  absl::Status ReadEnds();

  absl::Status ReadId(std::string_view key, int32_t& id) const;
  absl::Status ReadIds(std::string_view key, std::vector<int32_t>& ids) const;
  absl::Status ReadFlag(std::string_view key, bool& flag) const;
  bool IsSpecial(size_t id) const {
    return kinds_[id] == TokenKind::kControl || kinds_[id] == TokenKind::kUnknown ||
           kinds_[id] == TokenKind::kUserDefined;
  }
  void AppendTokenBytes(std::string_view bytes);

  const GgufFile& file_;
  Tokenizer& out_;
  std::vector<std::string_view> names_;  // [vocab] as the file spells them
  std::vector<TokenKind> kinds_;         // [vocab]
};

}  // namespace weft
