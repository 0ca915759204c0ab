// Byte pair merges over one piece of text, bytes first.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libs/tokenizer/merge_table.h"
#include "libs/tokenizer/word_table.h"

namespace weft {

// Immutable, thread safe.
class BpeMerger {
 public:
  struct Options {
    // A piece that is a token as a whole becomes that token whatever the merges say (Llama 3).
    bool whole_pieces_first = false;
  };

  // `names`: the vocabulary as the file spells it (bytes mapped to printable characters), empty
  // for ids that merging never gives. `bytes`: what each stands for. `merges`: "left right", the
  // first one first. An unknown part of a merge is INVALID_ARGUMENT naming the merge.
  static absl::StatusOr<std::unique_ptr<BpeMerger>> Create(std::span<const std::string_view> names,
                                                           std::span<const std::string_view> bytes,
                                                           std::span<const std::string_view> merges,
                                                           const Options& options);

  // Appends the tokens of a piece: O(n log n) in its bytes. A byte without a token is left out,
  // as the reference tokenizers do.
  void Encode(std::string_view piece, std::vector<int32_t>& out) const;

 private:
  BpeMerger() = default;
  void Merge(std::string_view piece, std::vector<int32_t>& out) const;

  int32_t byte_tokens_[256];
  MergeTable merges_;
  // Tokens whose own merges end in themselves, so that most words cost one look-up.
  WordTable words_;
};

// The table of merges written as "left right" over the symbols that `names` number; an empty name
// is no symbol. The first merge has rank 0.
// Errors name tokenizer.ggml.merges[i].
absl::StatusOr<MergeTable> ReadMerges(std::span<const std::string_view> names,
                                      std::span<const std::string_view> merges);

}  // namespace weft
