// A place where threads wait for a change that others make, with a bound that holds.
//
// A condition variable would not do: glibc's notify_all waits for threads that it woke earlier and
// that have not left yet, and keeps the variable's own lock meanwhile, without which no timeout of
// another waiter returns. A thread that the system stopped in its wait would so keep all others
// longer than their bound. Here a waiter holds nothing: it sleeps on a number that every change
// raises (futex(2)).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace weft::comm {

// Thread safe.
class WaitPoint {
 public:
  // Something has changed that others may wait for. The change is sequentially consistent.
  void Notify();

  // Until ready() is true, which reads with sequential consistency what was changed before
  // Notify(): spins, then sleeps. False when the deadline has passed before.
  template <typename Ready>
  bool Wait(Ready&& ready, std::chrono::microseconds spin,
            std::chrono::steady_clock::time_point deadline) {
    if (ready()) return true;
    const auto begin = std::chrono::steady_clock::now();
    while (spin.count() > 0) {
      for (int i = 0; i < 64; ++i) {
        Pause();
        if (ready()) return true;
      }
      if (std::chrono::steady_clock::now() - begin >= spin) break;
    }
    // Either this thread sees the change, or whoever makes it sees this thread asleep.
    sleepers_.fetch_add(1);
    bool done = false;
    while (true) {
      const uint32_t seen = changes_.load();
      done = ready();
      if (done || !Sleep(seen, deadline)) break;
    }
    sleepers_.fetch_sub(1);
    return done || ready();
  }

 private:
  static void Pause();
  // Until changes_ is no longer `seen`; false when the deadline has passed.
  bool Sleep(uint32_t seen, std::chrono::steady_clock::time_point deadline);

  std::atomic<uint32_t> changes_{0};
  std::atomic<uint32_t> sleepers_{0};
};

}  // namespace weft::comm
