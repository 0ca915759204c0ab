// What ranks of one process wait on, and what ends their waiting.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace weft::comm {

// Whether some groups go on, and the place where their ranks wait. Thread safe.
class Fate {
 public:
  // The first reason stays.
  void Abort(absl::Status reason);
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }
  absl::Status status() const;  // OK, or the reason

  // Something has changed that others may wait for. The change is sequentially consistent.
  void Notify();

  enum class Waited { kReady, kAborted, kTimeout };
  // Until ready() is true: spins, then parks. ready() reads with sequential consistency what was
  // changed before Notify().
  template <typename Ready>
  Waited Wait(Ready&& ready, std::chrono::microseconds spin,
              std::chrono::steady_clock::time_point deadline) {
    if (ready()) return Waited::kReady;
    const auto begin = std::chrono::steady_clock::now();
    while (spin.count() > 0 && !aborted()) {
      for (int i = 0; i < 64; ++i) {
        Pause();
        if (ready()) return Waited::kReady;
      }
      if (std::chrono::steady_clock::now() - begin >= spin) break;
    }
    std::unique_lock lock(mutex_);
    parked_.fetch_add(1);
    const bool woken = changed_.wait_until(lock, deadline, [&] { return ready() || aborted(); });
    parked_.fetch_sub(1);
    if (!woken) return Waited::kTimeout;
    return ready() ? Waited::kReady : Waited::kAborted;
  }

 private:
  static void Pause();

  std::atomic<bool> aborted_{false};
  std::atomic<int> parked_{0};
  mutable std::mutex mutex_;  // guards reason_
  absl::Status reason_;
  std::condition_variable changed_;
};

}  // namespace weft::comm
