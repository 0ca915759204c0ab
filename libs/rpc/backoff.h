// When to try again: exponential backoff with jitter, a retry budget, a circuit breaker. Pure: the
// time and the random numbers are handed in.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "libs/base/clock.h"

namespace weft::rpc {

struct BackoffOptions {
  std::chrono::milliseconds initial{100};
  std::chrono::milliseconds maximum{30'000};
  double multiplier = 2;
  double jitter = 0.2;  // each wait is within ±20 %
};

// Not thread safe. Draws come from a seed, so that two clients do not move in step.
class Backoff {
 public:
  Backoff(BackoffOptions options, uint64_t seed);
  std::chrono::nanoseconds Next();
  void Reset();
  int attempts() const { return attempts_; }

 private:
  const BackoffOptions options_;
  uint64_t state_;
  double next_ms_;
  int attempts_ = 0;
};

// Retries may be at most a share of the requests: a token bucket that each first attempt feeds and
// each retry empties (as in gRFC A6). Thread safe.
class RetryBudget {
 public:
  // `ratio` retries per request in the long run, `burst` at once.
  RetryBudget(double ratio, double burst);
  void OnRequest();
  // True: one retry may be made, and is counted.
  bool TryRetry();

 private:
  const double ratio_;
  const double burst_;
  std::mutex mutex_;
  double tokens_;
};

struct BreakerOptions {
  int failures_to_open = 5;                   // in a row
  std::chrono::milliseconds open_for{5'000};  // then one probe is let through
  int successes_to_close = 1;                 // probes that must succeed
};

// Closed: calls pass. Open: calls are refused without trying. Half open: one probe at a time.
// Thread safe.
class CircuitBreaker {
 public:
  enum class State { kClosed, kOpen, kHalfOpen };

  CircuitBreaker(BreakerOptions options, const Clock& clock);

  // True: make the call, and report its end with OnSuccess or OnFailure (a call that ended for
  // another reason, such as a cancelled one, with OnAbandoned).
  bool TryAcquire();
  void OnSuccess();
  void OnFailure();
  void OnAbandoned();

  State state() const;
  // How long until a probe is let through; zero when calls pass.
  std::chrono::nanoseconds RetryAfter() const;

 private:
  const BreakerOptions options_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  State state_ = State::kClosed;
  int failures_ = 0;
  int successes_ = 0;
  bool probing_ = false;
  SteadyTime opened_;
  SteadyTime probe_started_;
};

}  // namespace weft::rpc
