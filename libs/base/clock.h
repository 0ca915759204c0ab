// Time comes from an injected clock, so that tests do not sleep.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace weft {

using SteadyTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

// Thread safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime Now() const = 0;  // for intervals, deadlines, rate limits
  virtual WallTime Wall() const = 0;   // for logs, tokens with an expiry, audit
  static Clock& Real();                // lives for ever
};

// A clock that stands still until it is told to move. Thread safe.
class FakeClock final : public Clock {
 public:
  FakeClock();
  SteadyTime Now() const override;
  WallTime Wall() const override;
  void Advance(std::chrono::nanoseconds by);

 private:
  mutable std::mutex mutex_;
  SteadyTime now_;
  WallTime wall_;
};

int64_t UnixNanos(WallTime t);
int64_t UnixMillis(WallTime t);
int64_t UnixSeconds(WallTime t);
double Seconds(std::chrono::nanoseconds d);
double Millis(std::chrono::nanoseconds d);

// "2026-01-31T12:00:00.123456Z"
std::string Rfc3339(WallTime t);

}  // namespace weft
