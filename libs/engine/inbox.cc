#include "libs/engine/inbox.h"

#include <utility>

#include "libs/base/status.h"

namespace weft::engine {

absl::Status Inbox::Submit(WorkItem item, SteadyTime now) {
  {
    std::lock_guard lock(mutex_);
    if (refuse_) return Unavailable("the engine is draining and takes no new work");
    if (live_.size() - running_ >= max_waiting_) {
      return ResourceExhausted("the engine's queue is full ({} sequences wait)", max_waiting_);
    }
    if (!live_.insert(item.id).second) return AlreadyExists("id: {} is in the engine", item.id);
    items_.push_back({std::move(item), now});
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void Inbox::Cancel(std::span<const uint64_t> ids) {
  {
    std::lock_guard lock(mutex_);
    for (uint64_t id : ids) {
      if (live_.contains(id)) cancels_.insert(id);
    }
  }
  changed_.notify_one();
}

void Inbox::CancelAll() {
  {
    std::lock_guard lock(mutex_);
    cancels_ = live_;
  }
  changed_.notify_one();
}

void Inbox::RefuseNew() {
  std::lock_guard lock(mutex_);
  refuse_ = true;
}

void Inbox::RequestSnapshot() {
  {
    std::lock_guard lock(mutex_);
    snapshot_ = true;
  }
  changed_.notify_one();
}

void Inbox::Wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_one();
}

bool Inbox::idle() const {
  std::lock_guard lock(mutex_);
  return live_.empty();
}

void Inbox::Take(Contents* contents) {
  contents->items.clear();
  contents->cancels.clear();
  std::lock_guard lock(mutex_);
  contents->items.swap(items_);
  contents->cancels.assign(cancels_.begin(), cancels_.end());
  cancels_.clear();
  contents->snapshot = std::exchange(snapshot_, false);
}

void Inbox::Settle(std::span<const StepFinish> finishes, size_t running) {
  std::lock_guard lock(mutex_);
  for (const StepFinish& finish : finishes) {
    live_.erase(finish.id);
    cancels_.erase(finish.id);
  }
  running_ = running;
}

bool Inbox::Wait(std::chrono::nanoseconds timeout, bool owner_has_work) {
  std::unique_lock lock(mutex_);
  auto something = [&] { return !items_.empty() || !cancels_.empty() || snapshot_; };
  if (!owner_has_work) {
    changed_.wait_for(lock, timeout, [&] { return woken_ || something(); });
  }
  woken_ = false;
  return owner_has_work || something();
}

}  // namespace weft::engine
