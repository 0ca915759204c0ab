// Byte pair merges over one piece of text.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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
  struct MergeSlot {
    uint64_t key;  // left << 32 | right
    uint32_t rank;
    int32_t merged;
  };
  struct WordSlot {
    uint32_t hash;
    int32_t id;  // -1: free
  };
  static constexpr uint64_t kNoKey = ~0ull;
  static constexpr uint32_t kNoRank = ~0u;
  static constexpr size_t kShortPiece = 24;  // up to here a scan beats a heap

  BpeMerger() = default;
  const MergeSlot* FindMerge(int32_t left, int32_t right) const;
  uint32_t RankOf(int32_t left, int32_t right) const {
    const MergeSlot* slot = FindMerge(left, right);
    return slot == nullptr ? kNoRank : slot->rank;
  }
  int32_t FindWord(std::string_view bytes) const;
  void BuildWords(std::span<const std::string_view> bytes, bool all_direct);
  void EncodeShort(std::string_view piece, std::vector<int32_t>& out) const;
  void EncodeLong(std::string_view piece, std::vector<int32_t>& out) const;

  int32_t byte_tokens_[256];
  std::vector<MergeSlot> merges_;  // open addressing, a power of two, at most half full
  uint64_t merge_mask_ = 0;
  // Pieces that are one token: those whose own merges end in themselves, so that most words cost
  // one look-up.
  std::vector<WordSlot> words_;
  uint64_t word_mask_ = 0;
  std::string word_bytes_;
  std::vector<uint32_t> word_begin_;  // [vocab + 1] into word_bytes_
};

}  // namespace weft
