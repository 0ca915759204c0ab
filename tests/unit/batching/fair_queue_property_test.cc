// The queue against a list that is searched from front to back.
#include <algorithm>
#include <map>
#include <random>

#include "libs/batching/fair_queue.h"
#include "tests/support/catch.h"

namespace weft::batching {
namespace {

class NaiveQueue {
 public:
  explicit NaiveQueue(uint32_t max_bypass) : max_bypass_(max_bypass) {}

  void Push(const FairEntry& e, bool front) {
    const double floor = Floor();
    counters_.try_emplace(e.share_key, floor);
    const bool waits = std::any_of(items_.begin(), items_.end(),
                                   [&](const Item& i) { return i.e.share_key == e.share_key; });
    if (!waits) counters_[e.share_key] = std::max(counters_[e.share_key], floor);
    weights_[e.share_key] = e.weight;
    bypassed_.try_emplace(e.priority, 0);
    items_.push_back({e, front ? --front_ : ++back_, front});
  }
  std::optional<uint64_t> Pop() {
    if (items_.empty()) return std::nullopt;
    // The level: the highest starved one, else the highest.
    std::optional<int32_t> level;
    for (const auto& [priority, count] : bypassed_) {
      if (Has(priority) && count >= max_bypass_)
        level = priority;  // ascending: the last is highest
    }
    if (!level.has_value()) {
      for (const auto& [priority, count] : bypassed_) {
        if (Has(priority)) level = priority;
      }
    }
    // Within the level: per key its first, of these the smallest counter.
    auto best = items_.end();
    for (auto it = items_.begin(); it != items_.end(); ++it) {
      if (it->e.priority != *level) continue;
      const bool head = std::none_of(items_.begin(), items_.end(), [&](const Item& other) {
        return other.e.priority == *level && other.e.share_key == it->e.share_key &&
               other.order < it->order;
      });
      if (!head) continue;
      if (best == items_.end() || std::pair(counters_[it->e.share_key], it->order) <
                                      std::pair(counters_[best->e.share_key], best->order)) {
        best = it;
      }
    }
    const FairEntry e = best->e;
    if (!best->prepaid) counters_[e.share_key] += e.cost / weights_[e.share_key];
    last_ = e.share_key;
    items_.erase(best);
    bypassed_[*level] = 0;
    for (auto& [priority, count] : bypassed_) {
      if (priority < *level && Has(priority)) ++count;
      if (!Has(priority)) count = 0;
    }
    return e.id;
  }
  bool Remove(uint64_t id) {
    const bool removed = std::erase_if(items_, [&](const Item& i) { return i.e.id == id; }) > 0;
    for (auto& [priority, count] : bypassed_) {
      if (!Has(priority)) count = 0;
    }
    return removed;
  }
  void Charge(uint64_t key, double weight, double tokens) {
    counters_.try_emplace(key, Floor());
    const bool waits = std::any_of(items_.begin(), items_.end(),
                                   [&](const Item& i) { return i.e.share_key == key; });
    if (!waits) weights_[key] = weight;
    counters_[key] += tokens / weights_[key];
  }
  size_t size() const { return items_.size(); }

 private:
  struct Item {
    FairEntry e;
    int64_t order;
    bool prepaid;
  };
  bool Has(int32_t priority) const {
    return std::any_of(items_.begin(), items_.end(),
                       [&](const Item& i) { return i.e.priority == priority; });
  }
  double Floor() {
    if (items_.empty()) return counters_.contains(last_) ? counters_[last_] : 0.0;
    double floor = counters_[items_.front().e.share_key];
    for (const Item& i : items_) floor = std::min(floor, counters_[i.e.share_key]);
    return floor;
  }
  const uint32_t max_bypass_;
  std::vector<Item> items_;
  std::map<uint64_t, double> counters_, weights_;
  std::map<int32_t, uint32_t> bypassed_;
  uint64_t last_ = 0;
  int64_t front_ = 0, back_ = 0;
};

TEST_CASE("FairQueue agrees with a naive queue under random use", "[batching]") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
    FairQueue queue({.max_items = 100000, .max_items_per_key = 100000, .max_bypass = 5});
    NaiveQueue naive(5);
    std::vector<FairEntry> popped;
    std::map<uint64_t, FairEntry> entries;
    uint64_t next_id = 1;
    for (int op = 0; op < 600; ++op) {
      const uint32_t what = below(20);
      if (what < 9) {
        const uint64_t key = below(5);
        const FairEntry e{.id = next_id++,
                          .share_key = key,
                          .weight = 1.0 + static_cast<double>(key % 3),
                          .priority = static_cast<int32_t>(below(3)),
                          .cost = static_cast<double>(below(64))};
        REQUIRE(queue.Push(e).ok());
        naive.Push(e, false);
        entries[e.id] = e;
      } else if (what < 16) {
        const std::vector<FairEntry> peek = queue.Peek(1 + below(4));
        for (size_t i = 0; i < std::max<size_t>(peek.size(), 1); ++i) {
          const auto entry = queue.Pop();
          const auto expected = naive.Pop();
          REQUIRE(entry.has_value() == expected.has_value());
          if (!entry.has_value()) break;
          REQUIRE(entry->id == *expected);
          REQUIRE(peek[i].id == *expected);
          popped.push_back(*entry);
        }
      } else if (what < 17 && !popped.empty()) {
        REQUIRE(queue.PushFront(popped.back()).ok());
        naive.Push(popped.back(), true);
        popped.pop_back();
      } else if (what < 18) {
        const uint64_t id = 1 + below(static_cast<uint32_t>(next_id));
        REQUIRE(queue.Remove(id) == naive.Remove(id));
      } else {
        const uint64_t key = below(6);
        const double tokens = static_cast<double>(below(20)) - 4.0;
        queue.Charge(key, 2.0, tokens);
        naive.Charge(key, 2.0, tokens);
      }
      REQUIRE(queue.size() == naive.size());
    }
  }
}

TEST_CASE("FairQueue bounds how far two keys that always wait drift apart", "[batching]") {
  std::mt19937 random(7);
  FairQueue queue({.max_items = 100000, .max_items_per_key = 100000});
  std::map<uint64_t, double> served;
  uint64_t id = 0;
  const double weights[] = {1.0, 2.0, 5.0};
  auto push = [&](uint64_t key) {
    REQUIRE(queue
                .Push({.id = id++,
                       .share_key = key,
                       .weight = weights[key],
                       .cost = 1.0 + static_cast<double>(random() % 100)})
                .ok());
  };
  for (uint64_t key = 0; key < 3; ++key) {
    for (int i = 0; i < 3; ++i) push(key);
  }
  for (int i = 0; i < 5000; ++i) {
    const FairEntry e = *queue.Pop();
    served[e.share_key] += e.cost / e.weight;
    push(e.share_key);
    // The theorem's bound: one largest request.
    for (uint64_t a = 0; a < 3; ++a) {
      for (uint64_t b = 0; b < 3; ++b) REQUIRE(served[a] - served[b] <= 100.0);
    }
  }
}

}  // namespace
}  // namespace weft::batching
