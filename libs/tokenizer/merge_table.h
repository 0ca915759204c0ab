// The merges of a BPE vocabulary and the two ways to apply them. Symbols are numbers from 0 on;
// negative ones never merge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft {

// Thread safe once filled.
class MergeTable {
 public:
  static constexpr uint32_t kNoRank = ~0u;
  static constexpr size_t kShort = 24;  // up to so many symbols a scan beats a heap

  struct Slot {
    uint64_t key;  // left << 32 | right
    uint32_t rank;
    int32_t merged;
  };

  explicit MergeTable(size_t merges = 0);  // room for so many

  // Of a pair that is put twice the last counts.
  void Put(int32_t left, int32_t right, uint32_t rank, int32_t merged);

  // Null when the two do not merge.
  const Slot* Find(int32_t left, int32_t right) const {
    const uint64_t key = KeyOf(left, right);
    for (uint64_t at = Hash(key) & mask_;; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return &slots_[at];
      if (slots_[at].key == kNoKey) return nullptr;
    }
  }

  // Applies merges, lowest rank first and of equal ranks the leftmost first, until none applies.
  // Returns how many of the symbols are left at the front. At most kShort symbols.
  size_t MergeShort(int32_t* symbols, size_t size) const;

  // The same for any number: O(n log n).
  void MergeLong(std::vector<int32_t>& symbols) const;

 private:
  static constexpr uint64_t kNoKey = ~0ull;  // both negative: Put refuses it

  static uint64_t KeyOf(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  static uint64_t Hash(uint64_t key) {
    const auto product =
        static_cast<unsigned __int128>(key ^ 0x9E3779B97F4A7C15ull) * 0xD6E8FEB86659FD93ull;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  uint32_t RankOf(int32_t left, int32_t right) const {
    const Slot* slot = left < 0 || right < 0 ? nullptr : Find(left, right);
    return slot == nullptr ? kNoRank : slot->rank;
  }

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  uint64_t mask_ = 0;
};

}  // namespace weft
