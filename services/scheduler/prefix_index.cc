#include "services/scheduler/prefix_index.h"

namespace weft::scheduler {

void PrefixIndex::Forget() {
  keys_.clear();
  synced_ = false;
}

bool PrefixIndex::Apply(const v1::KvEvents& events) {
  const auto stored = kv::ParsePrefixKeys(events.stored());
  const auto removed = kv::ParsePrefixKeys(events.removed());
  if (!stored || !removed) {
    Forget();
    return false;
  }
  if (events.snapshot()) {
    keys_.clear();
    synced_ = true;
    last_number_ = events.last_number();
  } else {
    if (!synced_) return true;  // changes of an unknown set: wait for the snapshot
    if (events.last_number() <= last_number_) return true;  // the snapshot holds them
    if (events.first_number() > last_number_ + 1) {
      Forget();
      return false;
    }
    last_number_ = events.last_number();
  }
  for (const kv::PrefixKey& key : *removed) keys_.erase(key);
  for (const kv::PrefixKey& key : *stored) {
    if (keys_.size() >= max_keys_) break;
    keys_.insert(key);
  }
  return true;
}

size_t PrefixIndex::Match(const std::vector<kv::PrefixKey>& chain) const {
  size_t n = 0;
  while (n < chain.size() && keys_.contains(chain[n])) ++n;
  return n;
}

}  // namespace weft::scheduler
