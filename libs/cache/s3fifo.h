// A cache of bounded bytes that keeps what is asked for again: S3-FIFO ("FIFO queues are all you
// need for cache eviction", Yang et al., SOSP 2023).
//
//   new ──► small (10 % of the bytes) ──asked for again──► main ◄──┐ asked for since: once more
//                    └── not ──► ghost: names alone          └─────┘ not: out
//                                  └── asked for again: comes into main
//
// One-time requests pass through the small queue without driving out what is in use, and a hit
// moves nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace weft::cache {

// Not thread safe. A value is charged its bytes, its key's and kOverhead.
class S3Fifo {
 public:
  static constexpr size_t kOverhead = 160;  // of lists and maps, about

  explicit S3Fifo(size_t max_bytes);

  using Value = std::shared_ptr<const std::string>;
  // nullptr: not there.
  Value Get(std::string_view key);
  // Replaces what is there. False when it does not fit at all (more than a tenth of the bytes).
  bool Put(std::string_view key, Value value);
  bool Erase(std::string_view key);
  // How many went.
  size_t EraseIf(const std::function<bool(std::string_view key)>& condition);

  size_t bytes() const { return small_bytes_ + main_bytes_; }
  size_t size() const { return index_.size(); }
  uint64_t evictions() const { return evictions_; }

 private:
  struct Node {
    std::string key;
    Value value;
    uint8_t hits = 0;  // 0 to 3, since it came or was spared
    bool main = false;
    size_t bytes() const { return key.size() + value->size() + kOverhead; }
  };
  using Nodes = std::list<Node>;

  void MakeRoom();
  void EvictSmall();
  void EvictMain();
  void Remember(const std::string& key);
  void Drop(Nodes::iterator node);

  const size_t max_bytes_;
  Nodes small_;  // newest first
  Nodes main_;
  size_t small_bytes_ = 0;
  size_t main_bytes_ = 0;
  std::unordered_map<std::string_view, Nodes::iterator> index_;  // views into the nodes
  std::list<uint64_t> ghost_;  // hashes of keys, newest first; as many as there are in main
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> ghosts_;
  uint64_t evictions_ = 0;
};

}  // namespace weft::cache
