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
  // Which of two nearly equal splits wins depends on how their sums are rounded. double_sums: in
  // double precision and from 0 in each part, as Hugging Face's library does it. SentencePiece
  // (as of version 0.2.3) sums floats, across user-defined tokens, and from 0 again where a sum
  // is large.
  Unigram(SentencePieceVocab vocab, bool double_sums);

  void Encode(std::string_view text, const TextPart& part,
              std::vector<int32_t>& out) const override;

 private:
  // Appends the best split of `text`, which begins at the sum `before`; returns the sum at its end.
  template <typename Sum>
  Sum Split(std::string_view text, Sum before, std::vector<int32_t>& out) const;
  // What the user-defined token `id` adds to a sum.
  float UserDefinedScore(size_t id) const;

  SentencePieceVocab vocab_;
  UnknownText unknown_;
  ByteTrie trie_;
  bool double_sums_;
  double lowest_ = 0;  // of the normal tokens' scores
};

}  // namespace weft
