#include "libs/comm/wait_point.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

namespace weft::comm {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

void WaitPoint::Notify() {
  if (sleepers_.load() == 0) return;
  changes_.fetch_add(1);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&changes_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr,
          nullptr, 0);
}

bool WaitPoint::Sleep(uint32_t seen, std::chrono::steady_clock::time_point deadline) {
  // steady_clock is CLOCK_MONOTONIC, which FUTEX_WAIT_BITSET takes as an absolute time.
  const auto at = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch());
  timespec until{};
  until.tv_sec = static_cast<time_t>(at.count() / 1'000'000'000);
  until.tv_nsec = static_cast<long>(at.count() % 1'000'000'000);
  const long result =
      syscall(SYS_futex, reinterpret_cast<uint32_t*>(&changes_), FUTEX_WAIT_BITSET_PRIVATE, seen,
              &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  return result == 0 || errno != ETIMEDOUT;
}

void WaitPoint::Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace weft::comm
