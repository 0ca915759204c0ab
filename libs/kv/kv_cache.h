// The blocks of the KV cache: who holds which, what can be shared, what is free.
//
// A block is free, or private to one sequence, or owned by a node of the prefix tree and pinned by
// the sequences that read it. Only full blocks are shared, so a shared block is never written.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "libs/kv/prefix_key.h"
#include "libs/kv/prefix_tree.h"

namespace weft::kv {

// What one sequence holds. Made empty, filled by KvCache, given back with KvCache::Release.
struct SequenceKv {
  std::vector<int32_t> blocks;  // block i holds tokens [64 i, 64 i + 64)
  // The root, then the nodes of the first nodes.size() - 1 blocks, which are shared; the blocks
  // after those are private. Empty while nothing is attached.
  std::vector<PrefixTree::Node*> nodes;
  // A block could not enter the tree (its key collided), so none after it can.
  bool detached = false;
};

struct PrefixMatch {
  int32_t tokens = 0;  // cached, a multiple of kBlockTokens
  int32_t pinned_blocks =
      0;  // of those blocks: held by running sequences, so sharing costs nothing
};

struct KvCacheOptions {
  int32_t blocks = 0;
  bool prefix_cache = true;
};

// Pure data structure, not thread safe.
class KvCache {
 public:
  KvCache(const KvCacheOptions& options, std::shared_ptr<const PrefixHasher> hasher);

  // The longest cached prefix of at most `max_tokens` tokens.
  PrefixMatch Match(std::string_view salt, std::span<const int32_t> tokens,
                    int32_t max_tokens) const;

  // Gives an empty `kv` the longest cached prefix; returns its tokens.
  int32_t Attach(SequenceKv* kv, std::string_view salt, std::span<const int32_t> tokens,
                 int32_t max_tokens);

  // Makes room for `tokens` tokens, evicting where needed. False, and nothing changed, when there
  // are not enough blocks.
  bool Grow(SequenceKv* kv, int32_t tokens);

  // The first `computed` of `tokens` have their keys and values in kv's blocks: shares every full
  // block. Where an equal block is cached already, that one is taken and ours is freed.
  void Commit(SequenceKv* kv, std::span<const int32_t> tokens, int32_t computed);

  // Takes over blocks that others have computed since: while the block after the first `computed`
  // tokens of `kv` is cached, shares it instead of computing it. Returns the tokens then computed,
  // at most `max_tokens` unless it was more before.
  int32_t CatchUp(SequenceKv* kv, std::span<const int32_t> tokens, int32_t computed,
                  int32_t max_tokens);

  // Gives everything back; shared blocks stay cached. `kv` is empty afterwards.
  void Release(SequenceKv* kv);

  // Blocks that would become available if this sequence were released now.
  int32_t Releasable(const SequenceKv& kv) const;

  int32_t total() const { return total_; }
  int32_t cached() const { return tree_.unpinned(); }  // in the tree, held by no sequence
  int32_t available() const { return static_cast<int32_t>(free_.size()) + tree_.unpinned(); }
  uint64_t evictions() const { return tree_.evictions(); }
  KvEvents TakeEvents() { return tree_.TakeEvents(); }
  KvSnapshot Snapshot() const { return tree_.Snapshot(); }

  static int32_t BlocksFor(int32_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

 private:
  const int32_t total_;
  const bool prefix_cache_;
  PrefixTree tree_;
  std::vector<int32_t> free_;  // a stack: the block used last is the warmest
};

}  // namespace weft::kv
