// SentencePiece's unigram model: the split of a text whose tokens' log probabilities have the
// largest sum. Kudo 2018, https://arxiv.org/abs/1804.10959
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/tokenizer/byte_trie.h"
#include "libs/tokenizer/sentencepiece_vocab.h"
#include "libs/tokenizer/text_encoder.h"

namespace weft {

// Immutable. Linear in the bytes of a text times the length of the longest token.
class Unigram final : public TextEncoder {
 public:
  // double_sums: in double precision, as Hugging Face's library does it; SentencePiece uses float,
  // and which of two nearly equal splits wins may depend on it.
  Unigram(SentencePieceVocab vocab, bool double_sums);

  void Encode(std::string_view text, const TextPart& part,
              std::vector<int32_t>& out) const override;

 private:
  template <typename Sum>
  void Split(std::string_view text, std::vector<int32_t>& out) const;

  SentencePieceVocab vocab_;
  UnknownText unknown_;
  ByteTrie trie_;
  bool double_sums_;
  double lowest_ = 0;  // of the normal tokens' scores
  double highest_ = 0;
};

}  // namespace weft
