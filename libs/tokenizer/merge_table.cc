#include "libs/tokenizer/merge_table.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "libs/base/status.h"

namespace weft {

MergeTable::MergeTable(size_t merges) {
  slots_.assign(std::bit_ceil(std::max<uint64_t>(16, merges * 2 + 1)), Slot{kNoKey, kNoRank, -1});
  mask_ = slots_.size() - 1;
}

void MergeTable::Put(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
  WEFT_CHECK(left >= 0 && right >= 0);
  const uint64_t key = KeyOf(left, right);
  uint64_t at = Hash(key) & mask_;
  while (slots_[at].key != kNoKey && slots_[at].key != key) at = (at + 1) & mask_;
  slots_[at] = {key, rank, merged};
}

size_t MergeTable::MergeShort(int32_t* ids, size_t size) const {
  const Slot* pairs[kShort];  // pairs[i] merges ids[i] and ids[i + 1]
  const auto find = [this](int32_t left, int32_t right) {
    return left < 0 || right < 0 ? nullptr : Find(left, right);
  };
  for (size_t i = 0; i + 1 < size; ++i) pairs[i] = find(ids[i], ids[i + 1]);
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
    if (best + 1 < size) pairs[best] = find(ids[best], ids[best + 1]);
    if (best > 0) pairs[best - 1] = find(ids[best - 1], ids[best]);
  }
  return size;
}

// A heap of (rank, position) over a linked list. An entry is stale unless the pair at its position
// still has its rank.
void MergeTable::MergeLong(std::vector<int32_t>& ids) const {
  struct Symbol {
    int32_t id;
    uint32_t previous;
    uint32_t next;
    uint32_t rank;  // of merging with next
  };
  constexpr uint32_t kNone = ~0u;
  if (ids.empty()) return;
  std::vector<Symbol> symbols;
  symbols.reserve(ids.size());
  for (uint32_t at = 0; at < ids.size(); ++at) {
    symbols.push_back({ids[at], at - 1, at + 1, kNoRank});  // at - 1 of the first is kNone
  }
  symbols.back().next = kNone;

  std::vector<uint64_t> heap;
  const auto greater = std::greater<uint64_t>();
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i) {
    symbols[i].rank = RankOf(symbols[i].id, symbols[i + 1].id);
    if (symbols[i].rank != kNoRank) {
      heap.push_back(static_cast<uint64_t>(symbols[i].rank) << 32 | i);
    }
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
    left.id = Find(left.id, right.id)->merged;
    left.next = right.next;
    right.rank = kNoRank;  // it is gone: whatever the heap holds for it is stale
    if (left.next != kNone) symbols[left.next].previous = at;
    rerank(at);
    if (left.previous != kNone) rerank(left.previous);
  }
  ids.clear();
  for (uint32_t at = 0; at != kNone; at = symbols[at].next) ids.push_back(symbols[at].id);
}

}  // namespace weft
