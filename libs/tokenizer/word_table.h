// Pieces of text that are one token, found in one look-up.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

// Thread safe once filled.
class WordTable {
 public:
  struct Word {
    std::string_view bytes;  // not empty
    int32_t id;
  };
  // Copies the words; of two with the same bytes the first counts.
  explicit WordTable(const std::vector<Word>& words = {});

  // -1 when `bytes` is no word.
  int32_t Find(std::string_view bytes) const;

 private:
  struct Slot {
    uint32_t hash;
    uint32_t begin;  // in bytes_
    uint32_t size;   // 0: free
    int32_t id;
  };
  static uint32_t Hash(std::string_view bytes);

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  uint64_t mask_ = 0;
  std::string bytes_;
};

}  // namespace weft
