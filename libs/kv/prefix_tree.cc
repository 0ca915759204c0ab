#include "libs/kv/prefix_tree.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace weft::kv {

PrefixTree::PrefixTree(std::shared_ptr<const PrefixHasher> hasher) : hasher_(std::move(hasher)) {}
PrefixTree::~PrefixTree() = default;

PrefixTree::Node* PrefixTree::PinRoot(std::string_view salt) {
  std::unique_ptr<Node>& root = roots_[std::string(salt)];
  if (root == nullptr) {
    root = std::make_unique<Node>();
    root->key = hasher_->Root(salt);
    root->salt = salt;
  }
  ++root->pins;
  return root.get();
}

const PrefixTree::Node* PrefixTree::FindRoot(std::string_view salt) const {
  auto it = roots_.find(std::string(salt));
  return it == roots_.end() ? nullptr : it->second.get();
}

PrefixTree::Node* PrefixTree::Find(const Node* parent, std::span<const int32_t> tokens) const {
  auto it = by_key_.find(hasher_->Next(parent->key, tokens));
  if (it == by_key_.end()) return nullptr;
  Node* node = it->second.get();
  // A key is only a hint: the path of compared nodes is the proof.
  if (node->parent != parent) return nullptr;
  return std::equal(tokens.begin(), tokens.end(), node->tokens.begin()) ? node : nullptr;
}

PrefixTree::Node* PrefixTree::Insert(Node* parent, std::span<const int32_t> tokens, int32_t block) {
  WEFT_CHECK(parent->pins > 0);
  const PrefixKey key = hasher_->Next(parent->key, tokens);
  auto [it, is_new] = by_key_.try_emplace(key);
  if (!is_new) return nullptr;
  it->second = std::make_unique<Node>();
  Node* node = it->second.get();
  node->key = key;
  node->parent = parent;
  node->block = block;
  node->pins = 1;
  node->id = next_id_++;
  node->last_used = tick_;
  std::copy(tokens.begin(), tokens.end(), node->tokens.begin());
  ++parent->children;
  if (removed_.erase(key) == 0) stored_.insert(key);
  return node;
}

void PrefixTree::Pin(Node* node) {
  if (node->pins++ > 0 || node->parent == nullptr) return;
  --unpinned_;
  if (node->children == 0) evictable_.erase(LeafOf(node));
}

void PrefixTree::Unpin(Node* node) {
  WEFT_CHECK(node->pins > 0);
  if (--node->pins > 0) return;
  if (node->parent == nullptr) {
    if (node->children == 0) roots_.erase(roots_.find(node->salt));
    return;
  }
  node->last_used = ++tick_;
  ++unpinned_;
  if (node->children == 0) evictable_.insert(LeafOf(node));
}

int32_t PrefixTree::EvictOne() {
  if (evictable_.empty()) return -1;
  Node* node = evictable_.begin()->second;
  const int32_t block = node->block;
  evictable_.erase(evictable_.begin());
  Drop(node);
  ++evictions_;
  return block;
}

void PrefixTree::Drop(Node* node) {
  --unpinned_;
  Node* parent = node->parent;
  --parent->children;
  if (parent->pins == 0 && parent->children == 0) {
    if (parent->parent == nullptr) {
      roots_.erase(roots_.find(parent->salt));
    } else {
      evictable_.insert(LeafOf(parent));
    }
  }
  if (stored_.erase(node->key) == 0) removed_.insert(node->key);
  by_key_.erase(by_key_.find(node->key));
}

KvEvents PrefixTree::TakeEvents() {
  KvEvents events;
  if (!stored_.empty() || !removed_.empty()) ++event_number_;
  events.number = event_number_;
  events.stored.assign(stored_.begin(), stored_.end());
  events.removed.assign(removed_.begin(), removed_.end());
  std::sort(events.stored.begin(), events.stored.end());
  std::sort(events.removed.begin(), events.removed.end());
  stored_.clear();
  removed_.clear();
  return events;
}

KvSnapshot PrefixTree::Snapshot() const {
  KvSnapshot snapshot{.number = event_number_, .keys = {}};
  snapshot.keys.reserve(by_key_.size());
  for (const auto& [key, node] : by_key_) snapshot.keys.push_back(key);
  std::sort(snapshot.keys.begin(), snapshot.keys.end());
  return snapshot;
}

}  // namespace weft::kv
