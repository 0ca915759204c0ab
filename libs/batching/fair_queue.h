// Who is next: a bounded queue that is fair between share keys (tenants).
//
// Each share key has a virtual token counter, the tokens it was served divided by its weight
// ("Fairness in Serving Large Language Models", Sheng et al., OSDI 2024). The queue serves the key
// with the smallest counter among those that wait; within a key it is first in, first out. A key
// that comes back after idling is lifted to the smallest waiting counter, so idling saves up
// nothing. Higher priorities go first, but a waiting lower priority is passed over at most
// `max_bypass` times in a row, so nothing starves.
#pragma once

#include <absl/status/status.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

namespace weft::batching {

struct FairQueueOptions {
  size_t max_items = 1024;
  size_t max_items_per_key = 1024;
  uint32_t max_bypass = 64;
  size_t max_idle_keys = 65536;  // counters remembered for keys that have nothing waiting

  absl::Status Validate() const;
};

struct FairEntry {
  uint64_t id = 0;         // the caller's, unique in the queue
  uint64_t share_key = 0;  // whom it is charged to
  double weight = 1.0;     // > 0; a key's latest weight holds
  int32_t priority = 0;    // higher goes first
  double cost = 1.0;       // >= 0; tokens charged when it is popped (usually the prompt's)
};

// Pure data structure: no clock, no threads, no I/O. Not thread safe.
class FairQueue {
 public:
  explicit FairQueue(const FairQueueOptions& options = {});
  FairQueue(const FairQueue&) = delete;
  FairQueue& operator=(const FairQueue&) = delete;

  // RESOURCE_EXHAUSTED when the queue or the key's part of it is full, ALREADY_EXISTS,
  // INVALID_ARGUMENT for a weight or cost that is not a number in range.
  absl::Status Push(const FairEntry& entry);

  // Like Push, but to the front of its key, without bounds and without a charge when it is popped:
  // for an entry that was popped and charged before.
  absl::Status PushFront(const FairEntry& entry);

  // The next entry in fair order, now charged. nullopt when empty.
  std::optional<FairEntry> Pop();

  // The first entry in fair order that `accept` takes, looking at no more than the head of each
  // key; nullopt when it takes none. Order and charges are as if the others were not there.
  std::optional<FairEntry> PopIf(const std::function<bool(const FairEntry&)>& accept);

  // What the next `n` Pops would give, uncharged.
  std::vector<FairEntry> Peek(size_t n) const;

  // Takes a waiting entry out. False when it is not there.
  bool Remove(uint64_t id);

  // Charges (or, when negative, refunds) tokens served to a key, waiting or not.
  void Charge(uint64_t share_key, double weight, double tokens);

  // The key's virtual counter; the floor (see above) for a key never seen.
  double Counter(uint64_t share_key) const;

  size_t size() const { return index_.size(); }
  bool empty() const { return index_.empty(); }
  size_t SizeOfKey(uint64_t share_key) const;

 private:
  struct Item {
    FairEntry entry;
    int64_t order = 0;  // ties between keys go to the one whose head came first
    bool prepaid = false;
  };
  using Items = std::list<Item>;
  struct Level {
    std::map<uint64_t, Items> keys;  // by share key; no empty lists
    uint32_t bypassed = 0;           // pops of higher levels since this one was served
  };
  using Levels = std::map<int32_t, Level, std::greater<>>;
  struct Account {
    double counter = 0.0;
    double weight = 1.0;
    size_t waiting = 0;
  };
  struct Place {
    int32_t priority;
    uint64_t share_key;
    Items::iterator item;
  };

  absl::Status Check(const FairEntry& entry) const;
  void Insert(const FairEntry& entry, bool front);
  double Floor() const;
  void Charge(Account& account, double tokens) { account.counter += tokens / account.weight; }
  void Erase(Place place);
  void PruneIdle();

  const FairQueueOptions options_;
  Levels levels_;
  std::unordered_map<uint64_t, Account> accounts_;
  std::unordered_map<uint64_t, Place> index_;
  size_t waiting_keys_ = 0;
  int64_t next_order_ = 1;
  int64_t next_front_order_ = 0;  // counts down
  uint64_t last_served_key_ = 0;  // its counter is the floor when nobody waits
  double last_served_counter_ = 0.0;
};

}  // namespace weft::batching
