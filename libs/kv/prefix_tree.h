// Which blocks hold the keys and values of which prefixes: a tree of full blocks under one root per
// KV salt. A node's path from the root spells the tokens it stands for.
//
//   root(salt) ── [64 tokens] ── [64 tokens] ── [64 tokens]        pinned by the sequences on it
//                            └── [64 tokens]                       unpinned leaf: evictable
//
// Whoever pins a node has pinned its ancestors, so the unpinned nodes can always be evicted leaf
// by leaf.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "libs/kv/prefix_key.h"

namespace weft::kv {

// Pure data structure, not thread safe.
class PrefixTree {
 public:
  struct Node {
    PrefixKey key;
    Node* parent = nullptr;  // null for a root
    int32_t block = -1;      // -1 for a root
    int32_t pins = 0;
    int32_t children = 0;
    uint64_t id = 0;
    uint64_t last_used = 0;
    std::string salt;  // of a root
    std::array<int32_t, kBlockTokens> tokens{};
  };

  explicit PrefixTree(std::shared_ptr<const PrefixHasher> hasher);
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  // The root of a salt, made when it is not there; pinned once for the caller.
  Node* PinRoot(std::string_view salt);
  const Node* FindRoot(std::string_view salt) const;  // null when it is not there

  // The child for exactly these kBlockTokens tokens, compared token by token; null when not there.
  Node* Find(const Node* parent, std::span<const int32_t> tokens) const;

  // A new node, pinned once for the caller; `parent` must be pinned and must not have this child.
  // The block belongs to the tree from now on. Null when the key collides with another prefix's:
  // the caller keeps its block.
  Node* Insert(Node* parent, std::span<const int32_t> tokens, int32_t block);

  void Pin(Node* node);
  // The caller must not touch the node afterwards.
  void Unpin(Node* node);

  // Evicts the least recently used unpinned leaf and returns its block; -1 when there is none.
  int32_t EvictOne();

  int32_t nodes() const { return static_cast<int32_t>(by_key_.size()); }
  int32_t unpinned() const { return unpinned_; }
  uint64_t evictions() const { return evictions_; }

  // The changes since the last call, under a new number when there are any.
  KvEvents TakeEvents();
  KvSnapshot Snapshot() const;  // call after TakeEvents

 private:
  using Leaf = std::pair<std::pair<uint64_t, uint64_t>, Node*>;  // ((last used, id), node)
  static Leaf LeafOf(Node* node) { return {{node->last_used, node->id}, node}; }
  void Drop(Node* node);  // from the tree, not from the lists of changes

  const std::shared_ptr<const PrefixHasher> hasher_;
  std::unordered_map<std::string, std::unique_ptr<Node>> roots_;
  std::unordered_map<PrefixKey, std::unique_ptr<Node>, PrefixKeyHash> by_key_;
  std::set<Leaf> evictable_;
  int32_t unpinned_ = 0;
  uint64_t tick_ = 0;
  uint64_t next_id_ = 1;
  uint64_t evictions_ = 0;
  uint64_t event_number_ = 0;
  std::unordered_set<PrefixKey, PrefixKeyHash> stored_;
  std::unordered_set<PrefixKey, PrefixKeyHash> removed_;
};

}  // namespace weft::kv
