// SentencePiece's BPE model: characters merged by the scores of what they make (Llama 2, CodeLlama,
// Mistral, Gemma, Phi-3). Kudo and Richardson 2018, https://arxiv.org/abs/1808.06226
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <bitset>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/tokenizer/merge_table.h"
#include "libs/tokenizer/sentencepiece_vocab.h"
#include "libs/tokenizer/text_encoder.h"
#include "libs/tokenizer/word_table.h"

namespace weft {

// Immutable. O(n log n) in the bytes of a text; near-linear in practice, because text is cut first
// where no token has the two characters at the cut side by side: nothing merges across.
class SentencePieceBpe final : public TextEncoder {
 public:
  // With by_rank `merges`, "left right" and the first one first, decide, as in Hugging Face's
  // files, otherwise scores do. Errors name the key.
  static absl::StatusOr<std::unique_ptr<SentencePieceBpe>> Create(
      SentencePieceVocab vocab, bool by_rank, std::span<const std::string_view> merges);

  void Encode(std::string_view text, const TextPart& part,
              std::vector<int32_t>& out) const override;

 private:
  explicit SentencePieceBpe(SentencePieceVocab vocab);
  void NumberCharacters();
  void MergesFromScores();
  void LearnJoins();
  void LearnWords();

  int32_t SymbolOf(uint32_t code_point) const;
  // Whether two neighbouring characters may end up in one token.
  bool MayJoin(uint32_t left, uint32_t right) const;
  // The symbols of a piece, merged; a character without a symbol is -1 - its offset.
  std::vector<int32_t> Merge(std::string_view piece) const;
  bool EncodePiece(std::string_view piece, bool after_unknown, std::vector<int32_t>& out) const;
  bool AppendSymbol(int32_t symbol, std::string_view piece, bool after_unknown,
                    std::vector<int32_t>& out) const;

  SentencePieceVocab vocab_;
  UnknownText unknown_;
  // Symbols: the tokens by their ids, then characters that are only parts of tokens.
  std::vector<std::string> extra_;
  int32_t ascii_symbols_[128];
  absl::flat_hash_map<uint32_t, int32_t> symbols_;  // of the other characters
  MergeTable merges_;
  // What an unused token was merged from: it is taken apart again, as in the reference.
  absl::flat_hash_map<int32_t, std::pair<int32_t, int32_t>> unused_parts_;
  std::bitset<128 * 128> ascii_joins_;
  bool space_joins_after_other_ = false;  // some token has a space after a non-ASCII character
  WordTable words_;
};

}  // namespace weft
