#include "libs/batching/fair_queue.h"

#include <algorithm>
#include <cmath>

#include "libs/base/status.h"

namespace weft::batching {

absl::Status FairQueueOptions::Validate() const {
  if (max_items < 1) return InvalidArgument("max_items: must be at least 1");
  if (max_items_per_key < 1) return InvalidArgument("max_items_per_key: must be at least 1");
  if (max_bypass < 1) return InvalidArgument("max_bypass: must be at least 1");
  return absl::OkStatus();
}

FairQueue::FairQueue(const FairQueueOptions& options) : options_(options) {
  WEFT_CHECK(options.Validate().ok());
}

absl::Status FairQueue::Check(const FairEntry& entry) const {
  if (!(entry.weight > 0.0) || !std::isfinite(entry.weight)) {
    return InvalidArgument("weight: {} is not a positive number", entry.weight);
  }
  if (!(entry.cost >= 0.0) || !std::isfinite(entry.cost)) {
    return InvalidArgument("cost: {} is not a number of at least 0", entry.cost);
  }
  if (index_.contains(entry.id)) return AlreadyExists("id: {} is already queued", entry.id);
  return absl::OkStatus();
}

absl::Status FairQueue::Push(const FairEntry& entry) {
  WEFT_RETURN_IF_ERROR(Check(entry));
  if (index_.size() >= options_.max_items) {
    return ResourceExhausted("the queue is full ({} requests wait)", index_.size());
  }
  if (SizeOfKey(entry.share_key) >= options_.max_items_per_key) {
    return ResourceExhausted("this tenant's part of the queue is full ({} requests wait)",
                             options_.max_items_per_key);
  }
  Insert(entry, /*front=*/false);
  return absl::OkStatus();
}

absl::Status FairQueue::PushFront(const FairEntry& entry) {
  WEFT_RETURN_IF_ERROR(Check(entry));
  Insert(entry, /*front=*/true);
  return absl::OkStatus();
}

void FairQueue::Insert(const FairEntry& entry, bool front) {
  const double floor = Floor();
  Account& account =
      accounts_.try_emplace(entry.share_key, Account{.counter = floor}).first->second;
  account.weight = entry.weight;
  if (account.waiting == 0) {
    // What was charged before counts on; what was saved by idling does not.
    account.counter = std::max(account.counter, floor);
    ++waiting_keys_;
  }
  ++account.waiting;
  Items& items = levels_[entry.priority].keys[entry.share_key];
  auto place = front ? items.begin() : items.end();
  auto it = items.insert(
      place,
      Item{.entry = entry, .order = front ? next_front_order_-- : next_order_++, .prepaid = front});
  index_.emplace(entry.id, Place{entry.priority, entry.share_key, it});
  PruneIdle();
}

double FairQueue::Floor() const {
  bool any = false;
  double floor = 0.0;
  for (const auto& [priority, level] : levels_) {
    for (const auto& [share_key, items] : level.keys) {
      const double counter = accounts_.at(share_key).counter;
      floor = any ? std::min(floor, counter) : counter;
      any = true;
    }
  }
  if (any) return floor;
  auto last = accounts_.find(last_served_key_);
  return last == accounts_.end() ? last_served_counter_ : last->second.counter;
}

std::optional<FairEntry> FairQueue::Pop() {
  return PopIf([](const FairEntry&) { return true; });
}

std::optional<FairEntry> FairQueue::PopIf(const std::function<bool(const FairEntry&)>& accept) {
  // Starved levels first, then from the highest priority down.
  std::vector<Level*> order;
  order.reserve(levels_.size());
  for (auto& [priority, level] : levels_) order.push_back(&level);
  std::stable_partition(order.begin(), order.end(),
                        [&](const Level* l) { return l->bypassed >= options_.max_bypass; });
  for (Level* level : order) {
    std::vector<std::pair<double, const Item*>> heads;
    heads.reserve(level->keys.size());
    for (const auto& [share_key, items] : level->keys) {
      heads.emplace_back(accounts_.at(share_key).counter, &items.front());
    }
    std::sort(heads.begin(), heads.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first < b.first : a.second->order < b.second->order;
    });
    for (const auto& [counter, item] : heads) {
      if (!accept(item->entry)) continue;
      const FairEntry entry = item->entry;
      Account& account = accounts_.at(entry.share_key);
      if (!item->prepaid) Charge(account, entry.cost);
      last_served_key_ = entry.share_key;
      last_served_counter_ = account.counter;
      level->bypassed = 0;
      for (auto& [priority, other] : levels_) {
        if (priority < entry.priority) ++other.bypassed;
      }
      Erase(index_.at(entry.id));
      return entry;
    }
  }
  return std::nullopt;
}

std::vector<FairEntry> FairQueue::Peek(size_t n) const {
  struct Cursor {
    uint64_t share_key;
    Items::const_iterator next, end;
  };
  struct Row {
    int32_t priority;
    uint32_t bypassed;
    std::vector<Cursor> cursors;
  };
  std::vector<Row> rows;
  std::unordered_map<uint64_t, double> counters;
  for (const auto& [priority, level] : levels_) {
    Row& row = rows.emplace_back(Row{priority, level.bypassed, {}});
    for (const auto& [share_key, items] : level.keys) {
      row.cursors.push_back({share_key, items.begin(), items.end()});
      counters.emplace(share_key, accounts_.at(share_key).counter);
    }
  }
  std::vector<FairEntry> out;
  while (out.size() < n && !rows.empty()) {
    auto row = std::find_if(rows.begin(), rows.end(),
                            [&](const Row& r) { return r.bypassed >= options_.max_bypass; });
    if (row == rows.end()) row = rows.begin();
    auto best = std::min_element(row->cursors.begin(), row->cursors.end(),
                                 [&](const Cursor& a, const Cursor& b) {
                                   const double ca = counters.at(a.share_key);
                                   const double cb = counters.at(b.share_key);
                                   return ca != cb ? ca < cb : a.next->order < b.next->order;
                                 });
    const Item& item = *best->next;
    out.push_back(item.entry);
    if (!item.prepaid) {
      counters.at(best->share_key) += item.entry.cost / accounts_.at(best->share_key).weight;
    }
    row->bypassed = 0;
    for (auto below = row + 1; below != rows.end(); ++below) ++below->bypassed;
    if (++best->next == best->end) row->cursors.erase(best);
    if (row->cursors.empty()) rows.erase(row);
  }
  return out;
}

bool FairQueue::Remove(uint64_t id) {
  auto it = index_.find(id);
  if (it == index_.end()) return false;
  Erase(it->second);
  return true;
}

void FairQueue::Erase(Place place) {
  auto level = levels_.find(place.priority);
  auto key = level->second.keys.find(place.share_key);
  index_.erase(place.item->entry.id);
  key->second.erase(place.item);
  if (key->second.empty()) level->second.keys.erase(key);
  if (level->second.keys.empty()) levels_.erase(level);
  if (--accounts_.at(place.share_key).waiting == 0) {
    --waiting_keys_;
    PruneIdle();
  }
}

void FairQueue::Charge(uint64_t share_key, double weight, double tokens) {
  if (!std::isfinite(tokens) || !(weight > 0.0)) return;
  auto it = accounts_.find(share_key);
  if (it == accounts_.end()) it = accounts_.emplace(share_key, Account{.counter = Floor()}).first;
  Account& account = it->second;
  if (account.waiting == 0) account.weight = weight;
  Charge(account, tokens);
  PruneIdle();
}

double FairQueue::Counter(uint64_t share_key) const {
  auto it = accounts_.find(share_key);
  return it == accounts_.end() ? Floor() : it->second.counter;
}

size_t FairQueue::SizeOfKey(uint64_t share_key) const {
  auto it = accounts_.find(share_key);
  return it == accounts_.end() ? 0 : it->second.waiting;
}

void FairQueue::PruneIdle() {
  if (accounts_.size() - waiting_keys_ <= options_.max_idle_keys) return;
  // An idle key at or below the floor comes back at the floor anyway: forgetting it loses nothing.
  // If that is not enough, the smallest debts go first.
  std::vector<std::pair<double, uint64_t>> idle;
  for (const auto& [share_key, account] : accounts_) {
    if (account.waiting == 0) idle.emplace_back(account.counter, share_key);
  }
  const size_t keep = options_.max_idle_keys / 2;
  const auto cut = idle.begin() + static_cast<ptrdiff_t>(idle.size() - keep);
  std::nth_element(idle.begin(), cut, idle.end());
  std::for_each(idle.begin(), cut, [&](const auto& entry) { accounts_.erase(entry.second); });
}

}  // namespace weft::batching
