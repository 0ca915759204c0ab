// The door of the engine: what other threads leave for the owner thread.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <unordered_set>
#include <vector>

#include "libs/engine/types.h"

namespace weft::engine {

// Thread safe; Take, Settle and Wait are the owner thread's.
class Inbox {
 public:
  struct Arrival {
    WorkItem item;
    SteadyTime at;
  };
  struct Contents {
    std::vector<Arrival> items;
    std::vector<uint64_t> cancels;  // live ids only
    bool snapshot = false;
  };

  explicit Inbox(size_t max_waiting) : max_waiting_(max_waiting) {}

  absl::Status Submit(WorkItem item, SteadyTime now);
  void Cancel(std::span<const uint64_t> ids);
  void CancelAll();
  void RefuseNew();
  void RequestSnapshot();
  void Wake();
  bool idle() const;  // no submitted item is unfinished

  // Moves everything out.
  void Take(Contents* contents);
  // These items are over; `running` of the rest run, the others wait.
  void Settle(std::span<const StepFinish> finishes, size_t running);
  // True when there is something to take, at once when `owner_has_work`; false when woken or late.
  bool Wait(std::chrono::nanoseconds timeout, bool owner_has_work);

 private:
  const size_t max_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Arrival> items_;
  std::unordered_set<uint64_t> cancels_;
  std::unordered_set<uint64_t> live_;
  size_t running_ = 0;
  bool refuse_ = false;
  bool snapshot_ = false;
  bool woken_ = false;
};

}  // namespace weft::engine
