// Which worker holds which cached prefixes, from the workers' KV events.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "libs/kv/prefix_key.h"
#include "weft/v1/worker.pb.h"

namespace weft::scheduler {

// The prefix cache of one model on one worker, as that worker told it. A hint: it may be behind.
// Bounded by `max_keys` (further keys are not learnt). Not thread safe.
class PrefixIndex {
 public:
  explicit PrefixIndex(size_t max_keys = 1u << 20) : max_keys_(max_keys) {}

  // False when events are malformed or numbers are missing: what is known is then forgotten, until
  // the next snapshot.
  bool Apply(const v1::KvEvents& events);

  // How many keys of the chain, from its beginning, the worker holds.
  size_t Match(const std::vector<kv::PrefixKey>& chain) const;

  size_t size() const { return keys_.size(); }

 private:
  void Forget();

  const size_t max_keys_;
  std::unordered_set<kv::PrefixKey, kv::PrefixKeyHash> keys_;
  uint64_t last_number_ = 0;
  bool synced_ = false;
};

}  // namespace weft::scheduler
