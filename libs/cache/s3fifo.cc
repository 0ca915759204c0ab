#include "libs/cache/s3fifo.h"

#include <algorithm>
#include <utility>

namespace weft::cache {
namespace {

constexpr uint8_t kMostHits = 3;
constexpr size_t kSmallestGhost = 64;

uint64_t HashOf(std::string_view key) { return std::hash<std::string_view>()(key); }

}  // namespace

S3Fifo::S3Fifo(size_t max_bytes) : max_bytes_(max_bytes) {}

S3Fifo::Value S3Fifo::Get(std::string_view key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return nullptr;
  Node& node = *it->second;
  node.hits = static_cast<uint8_t>(std::min<int>(node.hits + 1, kMostHits));
  return node.value;
}

bool S3Fifo::Put(std::string_view key, Value value) {
  Erase(key);
  Node node{std::string(key), std::move(value)};
  const size_t bytes = node.bytes();
  if (bytes > max_bytes_ / 10) return false;
  const auto ghost = ghosts_.find(HashOf(key));
  node.main = ghost != ghosts_.end();
  if (node.main) {
    ghost_.erase(ghost->second);
    ghosts_.erase(ghost);
  }
  Nodes& queue = node.main ? main_ : small_;
  (node.main ? main_bytes_ : small_bytes_) += bytes;
  queue.push_front(std::move(node));
  index_.emplace(queue.front().key, queue.begin());
  MakeRoom();
  return true;
}

bool S3Fifo::Erase(std::string_view key) {
  const auto it = index_.find(key);
  if (it == index_.end()) return false;
  Drop(it->second);
  return true;
}

size_t S3Fifo::EraseIf(const std::function<bool(std::string_view)>& condition) {
  size_t erased = 0;
  for (Nodes* queue : {&small_, &main_}) {
    for (auto node = queue->begin(); node != queue->end();) {
      const auto next = std::next(node);
      if (condition(node->key)) {
        Drop(node);
        ++erased;
      }
      node = next;
    }
  }
  return erased;
}

void S3Fifo::Drop(Nodes::iterator node) {
  (node->main ? main_bytes_ : small_bytes_) -= node->bytes();
  index_.erase(node->key);
  (node->main ? main_ : small_).erase(node);
}

void S3Fifo::MakeRoom() {
  while (bytes() > max_bytes_) {
    if (!small_.empty() && (small_bytes_ > max_bytes_ / 10 || main_.empty())) {
      EvictSmall();
    } else {
      EvictMain();
    }
  }
}

void S3Fifo::EvictSmall() {
  const auto last = std::prev(small_.end());
  if (last->hits > 0) {
    last->hits = 0;
    last->main = true;
    small_bytes_ -= last->bytes();
    main_bytes_ += last->bytes();
    main_.splice(main_.begin(), small_, last);
    return;
  }
  Remember(last->key);
  Drop(last);
  ++evictions_;
}

void S3Fifo::EvictMain() {
  while (true) {  // ends: each round takes a hit away
    const auto last = std::prev(main_.end());
    if (last->hits == 0) {
      Drop(last);
      ++evictions_;
      return;
    }
    --last->hits;
    main_.splice(main_.begin(), main_, last);
  }
}

void S3Fifo::Remember(const std::string& key) {
  const uint64_t hash = HashOf(key);
  if (ghosts_.contains(hash)) return;
  ghost_.push_front(hash);
  ghosts_.emplace(hash, ghost_.begin());
  while (ghost_.size() > std::max(kSmallestGhost, main_.size())) {
    ghosts_.erase(ghost_.back());
    ghost_.pop_back();
  }
}

}  // namespace weft::cache
