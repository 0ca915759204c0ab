// The generations that run now: they are ticked, and cancelled when the gateway stops.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "services/gateway/generation.h"

namespace weft::gateway {

// Thread safe.
class ActiveRequests {
 public:
  using Flag = std::shared_ptr<std::atomic<bool>>;

  // `abandoned` true: cancelled at the next tick.
  void Add(const std::shared_ptr<Generation>& generation, Flag abandoned) {
    std::lock_guard lock(mutex_);
    entries_.push_back({generation, std::move(abandoned)});
  }

  void Tick() {
    for (const auto& [generation, abandoned] : Alive()) {
      if (abandoned && abandoned->load()) {
        generation->Cancel("no_stream_left");
      } else {
        generation->Tick();
      }
    }
  }

  void FailAll(const absl::Status& status) {
    for (const auto& [generation, abandoned] : Alive()) generation->Fail(status);
  }

 private:
  struct Entry {
    std::weak_ptr<Generation> generation;
    Flag abandoned;
  };

  std::vector<std::pair<std::shared_ptr<Generation>, Flag>> Alive() {
    std::vector<std::pair<std::shared_ptr<Generation>, Flag>> alive;
    std::lock_guard lock(mutex_);
    std::erase_if(entries_, [&](const Entry& entry) {
      auto generation = entry.generation.lock();
      if (!generation) return true;
      alive.emplace_back(std::move(generation), entry.abandoned);
      return false;
    });
    return alive;
  }

  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace weft::gateway
