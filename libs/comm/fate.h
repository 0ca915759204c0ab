// What ranks of one process wait on, and what ends their waiting.
#pragma once

#include <absl/status/status.h>

#include <atomic>
#include <chrono>
#include <mutex>

#include "libs/comm/wait_point.h"

namespace weft::comm {

// Whether some groups go on, and the place where their ranks wait. Thread safe.
class Fate {
 public:
  // The first reason stays.
  void Abort(absl::Status reason);
  bool aborted() const { return aborted_.load(); }
  absl::Status status() const;  // OK, or the reason

  // Something has changed that others may wait for. The change is sequentially consistent.
  void Notify() { changed_.Notify(); }

  enum class Waited { kReady, kAborted, kTimeout };
  // Until ready() is true: spins, then sleeps. ready() reads with sequential consistency what was
  // changed before Notify(). The deadline holds whatever becomes of other ranks (wait_point.h).
  template <typename Ready>
  Waited Wait(Ready&& ready, std::chrono::microseconds spin,
              std::chrono::steady_clock::time_point deadline) {
    if (!changed_.Wait([&] { return ready() || aborted(); }, spin, deadline)) {
      return Waited::kTimeout;
    }
    return ready() ? Waited::kReady : Waited::kAborted;
  }

 private:
  std::atomic<bool> aborted_{false};
  mutable std::mutex mutex_;  // guards reason_
  absl::Status reason_;
  WaitPoint changed_;
};

}  // namespace weft::comm
