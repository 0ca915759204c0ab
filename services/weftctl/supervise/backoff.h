// How long to wait before a service that ended is started again.
#pragma once

#include <algorithm>
#include <chrono>

namespace weft::supervise {

// 0.5 s, 1 s, 2 s … 30 s. A run of at least kStable counts as healthy and starts the row again.
// Not thread safe.
class Backoff {
 public:
  static constexpr std::chrono::milliseconds kFirst{500};
  static constexpr std::chrono::milliseconds kMost{30000};
  static constexpr std::chrono::seconds kStable{60};

  // The service ran for `ran` and ended; the answer is the wait before the next start.
  std::chrono::milliseconds Next(std::chrono::nanoseconds ran) {
    if (ran >= kStable) next_ = kFirst;
    const std::chrono::milliseconds wait = next_;
    next_ = std::min(next_ * 2, kMost);
    return wait;
  }

 private:
  std::chrono::milliseconds next_ = kFirst;
};

}  // namespace weft::supervise
