#include "libs/base/clock.h"

#include <fmt/format.h>

#include <ctime>

namespace weft {
namespace {

class RealClock final : public Clock {
 public:
  SteadyTime Now() const override { return std::chrono::steady_clock::now(); }
  WallTime Wall() const override { return std::chrono::system_clock::now(); }
};

}  // namespace

Clock& Clock::Real() {
  static RealClock clock;
  return clock;
}

FakeClock::FakeClock() : now_(std::chrono::hours(1)), wall_(std::chrono::seconds(1'700'000'000)) {}

SteadyTime FakeClock::Now() const {
  std::lock_guard lock(mutex_);
  return now_;
}

WallTime FakeClock::Wall() const {
  std::lock_guard lock(mutex_);
  return wall_;
}

void FakeClock::Advance(std::chrono::nanoseconds by) {
  std::lock_guard lock(mutex_);
  now_ += std::chrono::duration_cast<SteadyTime::duration>(by);
  wall_ += std::chrono::duration_cast<WallTime::duration>(by);
}

int64_t UnixNanos(WallTime t) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
}
int64_t UnixMillis(WallTime t) { return UnixNanos(t) / 1'000'000; }
int64_t UnixSeconds(WallTime t) { return UnixNanos(t) / 1'000'000'000; }
double Seconds(std::chrono::nanoseconds d) { return static_cast<double>(d.count()) * 1e-9; }
double Millis(std::chrono::nanoseconds d) { return static_cast<double>(d.count()) * 1e-6; }

std::string Rfc3339(WallTime t) {
  const int64_t nanos = UnixNanos(t);
  const std::time_t seconds = static_cast<std::time_t>(nanos / 1'000'000'000);
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, nanos % 1'000'000'000 / 1000);
}

}  // namespace weft
