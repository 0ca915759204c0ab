#include "libs/tokenizer/bpe_merger.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "libs/base/status.h"

namespace weft {
namespace {

uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t HashPair(uint64_t key) { return Mix(key ^ 0x9E3779B97F4A7C15ull, 0xD6E8FEB86659FD93ull); }

uint32_t HashBytes(std::string_view bytes) {
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

uint64_t TableSize(size_t items) { return std::bit_ceil(std::max<uint64_t>(16, items * 2 + 1)); }

}  // namespace

absl::StatusOr<std::unique_ptr<BpeMerger>> BpeMerger::Create(
    std::span<const std::string_view> names, std::span<const std::string_view> bytes,
    std::span<const std::string_view> merges, const Options& options) {
  std::unique_ptr<BpeMerger> merger(new BpeMerger());
  std::fill(std::begin(merger->byte_tokens_), std::end(merger->byte_tokens_), -1);
  // Seeded per process: a hostile file cannot make it collide.
  absl::flat_hash_map<std::string, int32_t> ids;
  ids.reserve(names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) continue;
    const auto id = static_cast<int32_t>(i);
    ids.emplace(std::string(names[i]), id);  // of two alike, the first
    if (bytes[i].size() == 1) {
      int32_t& token = merger->byte_tokens_[static_cast<uint8_t>(bytes[i][0])];
      if (token < 0) token = id;
    }
  }

  merger->merges_.assign(TableSize(merges.size()), MergeSlot{kNoKey, kNoRank, -1});
  merger->merge_mask_ = merger->merges_.size() - 1;
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 >= merge.size()) {
      return InvalidArgument("tokenizer.ggml.merges[{}] is not two tokens with a space between",
                             rank);
    }
    const auto left = ids.find(std::string(merge.substr(0, space)));
    const auto right = ids.find(std::string(merge.substr(space + 1)));
    joined.assign(merge.substr(0, space));
    joined += merge.substr(space + 1);
    const auto whole = ids.find(joined);
    if (left == ids.end() || right == ids.end() || whole == ids.end()) {
      return InvalidArgument("tokenizer.ggml.merges[{}]: {} is not in tokenizer.ggml.tokens", rank,
                             left == ids.end()    ? "its left part"
                             : right == ids.end() ? "its right part"
                                                  : "its result");
    }
    const uint64_t key =
        static_cast<uint64_t>(left->second) << 32 | static_cast<uint32_t>(right->second);
    uint64_t at = HashPair(key) & merger->merge_mask_;
    while (merger->merges_[at].key != kNoKey && merger->merges_[at].key != key) {
      at = (at + 1) & merger->merge_mask_;
    }
    // A pair given twice has its last rank, as in the reference.
    merger->merges_[at] = {key, static_cast<uint32_t>(rank), whole->second};
  }
  merger->BuildWords(bytes, options.whole_pieces_first);
  return merger;
}

void BpeMerger::BuildWords(std::span<const std::string_view> bytes, bool all_direct) {
  std::vector<int32_t> direct;
  std::vector<int32_t> merged;
  word_begin_.reserve(bytes.size() + 1);
  for (size_t i = 0; i < bytes.size(); ++i) {
    word_begin_.push_back(static_cast<uint32_t>(word_bytes_.size()));
    if (bytes[i].empty()) continue;
    word_bytes_ += bytes[i];
    if (!all_direct) {
      merged.clear();
      EncodeLong(bytes[i], merged);
      if (merged.size() != 1 || merged[0] != static_cast<int32_t>(i)) continue;
    }
    direct.push_back(static_cast<int32_t>(i));
  }
  word_begin_.push_back(static_cast<uint32_t>(word_bytes_.size()));
  words_.assign(TableSize(direct.size()), WordSlot{0, -1});
  word_mask_ = words_.size() - 1;
  for (const int32_t id : direct) {
    const uint32_t hash = HashBytes(bytes[static_cast<size_t>(id)]);
    uint64_t at = hash & word_mask_;
    bool known = false;
    while (words_[at].id >= 0 && !known) {
      known = words_[at].hash == hash &&
              bytes[static_cast<size_t>(words_[at].id)] == bytes[static_cast<size_t>(id)];
      if (!known) at = (at + 1) & word_mask_;
    }
    if (!known) words_[at] = {hash, id};
  }
}

int32_t BpeMerger::FindWord(std::string_view bytes) const {
  const uint32_t hash = HashBytes(bytes);
  for (uint64_t at = hash & word_mask_; words_[at].id >= 0; at = (at + 1) & word_mask_) {
    if (words_[at].hash != hash) continue;
    const auto id = static_cast<size_t>(words_[at].id);
    const size_t begin = word_begin_[id];
    const size_t size = word_begin_[id + 1] - begin;
    if (size == bytes.size() && std::memcmp(word_bytes_.data() + begin, bytes.data(), size) == 0) {
      return words_[at].id;
    }
  }
  return -1;
}

const BpeMerger::MergeSlot* BpeMerger::FindMerge(int32_t left, int32_t right) const {
  const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  for (uint64_t at = HashPair(key) & merge_mask_;; at = (at + 1) & merge_mask_) {
    if (merges_[at].key == key) return &merges_[at];
    if (merges_[at].key == kNoKey) return nullptr;
  }
}

void BpeMerger::Encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.empty()) return;
  if (const int32_t id = FindWord(piece); id >= 0) {
    out.push_back(id);
  } else if (piece.size() <= kShortPiece) {
    EncodeShort(piece, out);
  } else {
    EncodeLong(piece, out);
  }
}

void BpeMerger::EncodeShort(std::string_view piece, std::vector<int32_t>& out) const {
  int32_t ids[kShortPiece];
  const MergeSlot* pairs[kShortPiece];  // pairs[i] merges ids[i] and ids[i + 1]
  size_t size = 0;
  for (const char c : piece) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id >= 0) ids[size++] = id;
  }
  for (size_t i = 0; i + 1 < size; ++i) pairs[i] = FindMerge(ids[i], ids[i + 1]);
  while (size > 1) {
    size_t best = size;
    uint32_t rank = kNoRank;
    for (size_t i = 0; i + 1 < size; ++i) {
      if (pairs[i] != nullptr && pairs[i]->rank < rank) {
        rank = pairs[i]->rank;
        best = i;
      }
    }
    if (best == size) break;
    ids[best] = pairs[best]->merged;
    for (size_t i = best + 1; i + 1 < size; ++i) {
      ids[i] = ids[i + 1];
      pairs[i] = pairs[i + 1];
    }
    --size;
    if (best + 1 < size) pairs[best] = FindMerge(ids[best], ids[best + 1]);
    if (best > 0) pairs[best - 1] = FindMerge(ids[best - 1], ids[best]);
  }
  out.insert(out.end(), ids, ids + size);
}

// A heap of (rank, position) over a linked list. An entry is stale unless the pair at its position
// still has its rank, and a rank belongs to exactly one pair of tokens.
void BpeMerger::EncodeLong(std::string_view piece, std::vector<int32_t>& out) const {
  struct Symbol {
    int32_t id;
    uint32_t previous;
    uint32_t next;
    uint32_t rank;  // of merging with next
  };
  constexpr uint32_t kNone = ~0u;
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char c : piece) {
    const int32_t id = byte_tokens_[static_cast<uint8_t>(c)];
    if (id < 0) continue;
    const auto at = static_cast<uint32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1, kNoRank});  // at - 1 of the first is kNone
  }
  if (symbols.empty()) return;
  symbols.back().next = kNone;

  std::vector<uint64_t> heap;
  const auto greater = std::greater<uint64_t>();
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i) {
    symbols[i].rank = RankOf(symbols[i].id, symbols[i + 1].id);
    if (symbols[i].rank != kNoRank)
      heap.push_back(static_cast<uint64_t>(symbols[i].rank) << 32 | i);
  }
  std::make_heap(heap.begin(), heap.end(), greater);
  const auto rerank = [&](uint32_t at) {
    Symbol& symbol = symbols[at];
    symbol.rank = symbol.next == kNone ? kNoRank : RankOf(symbol.id, symbols[symbol.next].id);
    if (symbol.rank != kNoRank) {
      heap.push_back(static_cast<uint64_t>(symbol.rank) << 32 | at);
      std::push_heap(heap.begin(), heap.end(), greater);
    }
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), greater);
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    const auto at = static_cast<uint32_t>(heap.back());
    heap.pop_back();
    Symbol& left = symbols[at];
    if (left.rank != rank) continue;
    Symbol& right = symbols[left.next];
    left.id = FindMerge(left.id, right.id)->merged;
    left.next = right.next;
    right.rank = kNoRank;  // it is gone: whatever the heap holds for it is stale
    if (left.next != kNone) symbols[left.next].previous = at;
    rerank(at);
    if (left.previous != kNone) rerank(left.previous);
  }
  for (uint32_t at = 0; at != kNone; at = symbols[at].next) out.push_back(symbols[at].id);
}

}  // namespace weft
