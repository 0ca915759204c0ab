#include "libs/tokenizer/word_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace weft {
namespace {

uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

uint32_t WordTable::Hash(std::string_view bytes) {
  uint64_t hash = 0xA0761D6478BD642Full ^ bytes.size();
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = Mix(hash ^ word, 0xE7037ED1A0B428DBull);
  }
  uint64_t word = 0;
  std::memcpy(&word, at, left);
  hash = Mix(hash ^ word, 0x8EBC6AF09C88C6E3ull);
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

WordTable::WordTable(const std::vector<Word>& words) {
  slots_.assign(std::bit_ceil(std::max<uint64_t>(16, words.size() * 2 + 1)), Slot{0, 0, 0, -1});
  mask_ = slots_.size() - 1;
  for (const Word& word : words) {
    if (Find(word.bytes) >= 0) continue;
    const uint32_t hash = Hash(word.bytes);
    uint64_t at = hash & mask_;
    while (slots_[at].size != 0) at = (at + 1) & mask_;
    slots_[at] = {hash, static_cast<uint32_t>(bytes_.size()),
                  static_cast<uint32_t>(word.bytes.size()), word.id};
    bytes_ += word.bytes;
  }
}

int32_t WordTable::Find(std::string_view bytes) const {
  const uint32_t hash = Hash(bytes);
  for (uint64_t at = hash & mask_; slots_[at].size != 0; at = (at + 1) & mask_) {
    const Slot& slot = slots_[at];
    if (slot.hash == hash && slot.size == bytes.size() &&
        std::memcmp(bytes_.data() + slot.begin, bytes.data(), bytes.size()) == 0) {
      return slot.id;
    }
  }
  return -1;
}

}  // namespace weft
