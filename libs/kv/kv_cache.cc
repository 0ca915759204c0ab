#include "libs/kv/kv_cache.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft::kv {
namespace {

std::span<const int32_t> BlockOf(std::span<const int32_t> tokens, size_t index) {
  return tokens.subspan(index * kBlockTokens, kBlockTokens);
}

size_t MatchableBlocks(std::span<const int32_t> tokens, int32_t max_tokens) {
  return std::min(tokens.size(), static_cast<size_t>(std::max(max_tokens, 0))) / kBlockTokens;
}

}  // namespace

KvCache::KvCache(const KvCacheOptions& options, std::shared_ptr<const PrefixHasher> hasher)
    : total_(options.blocks), prefix_cache_(options.prefix_cache), tree_(std::move(hasher)) {
  free_.resize(static_cast<size_t>(total_));
  // The lowest block is on top.
  for (int32_t i = 0; i < total_; ++i) free_[static_cast<size_t>(i)] = total_ - 1 - i;
}

PrefixMatch KvCache::Match(std::string_view salt, std::span<const int32_t> tokens,
                           int32_t max_tokens) const {
  PrefixMatch match;
  if (!prefix_cache_) return match;
  const PrefixTree::Node* node = tree_.FindRoot(salt);
  const size_t blocks = MatchableBlocks(tokens, max_tokens);
  for (size_t i = 0; i < blocks && node != nullptr; ++i) {
    node = tree_.Find(node, BlockOf(tokens, i));
    if (node == nullptr) break;
    match.tokens += kBlockTokens;
    if (node->pins > 0) ++match.pinned_blocks;
  }
  return match;
}

int32_t KvCache::Attach(SequenceKv* kv, std::string_view salt, std::span<const int32_t> tokens,
                        int32_t max_tokens) {
  WEFT_CHECK(kv->blocks.empty() && kv->nodes.empty());
  if (!prefix_cache_) {
    kv->detached = true;
    return 0;
  }
  kv->nodes.push_back(tree_.PinRoot(salt));
  const size_t blocks = MatchableBlocks(tokens, max_tokens);
  for (size_t i = 0; i < blocks; ++i) {
    PrefixTree::Node* node = tree_.Find(kv->nodes.back(), BlockOf(tokens, i));
    if (node == nullptr) break;
    tree_.Pin(node);
    kv->nodes.push_back(node);
    kv->blocks.push_back(node->block);
  }
  return static_cast<int32_t>(kv->blocks.size()) * kBlockTokens;
}

bool KvCache::Grow(SequenceKv* kv, int32_t tokens) {
  const int32_t missing = BlocksFor(tokens) - static_cast<int32_t>(kv->blocks.size());
  if (missing <= 0) return true;
  if (missing > available()) return false;
  for (int32_t i = 0; i < missing; ++i) {
    int32_t block;
    if (free_.empty()) {
      block = tree_.EvictOne();
      WEFT_CHECK(block >= 0);
    } else {
      block = free_.back();
      free_.pop_back();
    }
    kv->blocks.push_back(block);
  }
  return true;
}

void KvCache::Commit(SequenceKv* kv, std::span<const int32_t> tokens, int32_t computed) {
  if (kv->detached) return;
  const size_t full = static_cast<size_t>(computed) / kBlockTokens;
  for (size_t i = kv->nodes.size() - 1; i < full; ++i) {
    PrefixTree::Node* parent = kv->nodes.back();
    PrefixTree::Node* node = tree_.Find(parent, BlockOf(tokens, i));
    if (node != nullptr) {
      // Another sequence computed the same tokens meanwhile; the contents are the same bits.
      tree_.Pin(node);
      free_.push_back(std::exchange(kv->blocks[i], node->block));
    } else {
      node = tree_.Insert(parent, BlockOf(tokens, i), kv->blocks[i]);
    }
    if (node == nullptr) {
      kv->detached = true;
      return;
    }
    kv->nodes.push_back(node);
  }
}

int32_t KvCache::CatchUp(SequenceKv* kv, std::span<const int32_t> tokens, int32_t computed,
                         int32_t max_tokens) {
  if (kv->detached) return computed;
  const size_t blocks = MatchableBlocks(tokens, max_tokens);
  // Every full block is committed, so the shared ones are exactly the full ones.
  for (size_t i = kv->nodes.size() - 1; i < blocks; ++i) {
    PrefixTree::Node* node = tree_.Find(kv->nodes.back(), BlockOf(tokens, i));
    if (node == nullptr) break;
    tree_.Pin(node);
    kv->nodes.push_back(node);
    if (i < kv->blocks.size()) {
      free_.push_back(std::exchange(kv->blocks[i], node->block));
    } else {
      kv->blocks.push_back(node->block);
    }
    computed = static_cast<int32_t>(i + 1) * kBlockTokens;
  }
  return computed;
}

void KvCache::Release(SequenceKv* kv) {
  const size_t shared = kv->nodes.empty() ? 0 : kv->nodes.size() - 1;
  for (size_t i = kv->blocks.size(); i > shared; --i) free_.push_back(kv->blocks[i - 1]);
  // Leaf first: a leaf is then older than its parent, and eviction takes the far end first.
  for (size_t i = kv->nodes.size(); i > 0; --i) tree_.Unpin(kv->nodes[i - 1]);
  *kv = {};
}

int32_t KvCache::Releasable(const SequenceKv& kv) const {
  auto count = static_cast<int32_t>(kv.blocks.size());
  for (size_t i = 1; i < kv.nodes.size(); ++i) count -= kv.nodes[i]->pins > 1 ? 1 : 0;
  return count;
}

}  // namespace weft::kv
