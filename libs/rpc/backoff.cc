#include "libs/rpc/backoff.h"

#include <algorithm>

namespace weft::rpc {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace

Backoff::Backoff(BackoffOptions options, uint64_t seed)
    : options_(options), state_(seed), next_ms_(static_cast<double>(options.initial.count())) {}

std::chrono::nanoseconds Backoff::Next() {
  const double maximum = static_cast<double>(options_.maximum.count());
  const double base = std::min(next_ms_, maximum);
  next_ms_ = std::min(base * options_.multiplier, maximum);
  ++attempts_;
  const double unit = static_cast<double>(NextRandom(state_) >> 11) * 0x1.0p-53;  // [0, 1)
  const double wait_ms = base * (1 + options_.jitter * (2 * unit - 1));
  return std::chrono::nanoseconds(static_cast<int64_t>(wait_ms * 1e6));
}

void Backoff::Reset() {
  next_ms_ = static_cast<double>(options_.initial.count());
  attempts_ = 0;
}

RetryBudget::RetryBudget(double ratio, double burst)
    : ratio_(ratio), burst_(burst), tokens_(burst) {}

void RetryBudget::OnRequest() {
  std::lock_guard lock(mutex_);
  tokens_ = std::min(burst_, tokens_ + ratio_);
}

bool RetryBudget::TryRetry() {
  std::lock_guard lock(mutex_);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

CircuitBreaker::CircuitBreaker(BreakerOptions options, const Clock& clock)
    : options_(options), clock_(clock) {}

bool CircuitBreaker::TryAcquire() {
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.Now();
  if (state_ == State::kClosed) return true;
  if (state_ == State::kOpen) {
    if (now - opened_ < options_.open_for) return false;
    state_ = State::kHalfOpen;
    successes_ = 0;
    probing_ = false;
  }
  // A probe whose end was never reported must not keep the breaker half open for ever.
  if (probing_ && now - probe_started_ < options_.open_for) return false;
  probing_ = true;
  probe_started_ = now;
  return true;
}

void CircuitBreaker::OnSuccess() {
  std::lock_guard lock(mutex_);
  failures_ = 0;
  probing_ = false;
  if (state_ != State::kHalfOpen) return;
  if (++successes_ >= options_.successes_to_close) state_ = State::kClosed;
}

void CircuitBreaker::OnFailure() {
  std::lock_guard lock(mutex_);
  probing_ = false;
  if (state_ == State::kOpen) return;  // a late answer to a call from before
  if (state_ == State::kClosed && ++failures_ < options_.failures_to_open) return;
  state_ = State::kOpen;
  failures_ = 0;
  opened_ = clock_.Now();
}

void CircuitBreaker::OnAbandoned() {
  std::lock_guard lock(mutex_);
  probing_ = false;
}

CircuitBreaker::State CircuitBreaker::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

std::chrono::nanoseconds CircuitBreaker::RetryAfter() const {
  std::lock_guard lock(mutex_);
  if (state_ != State::kOpen) return std::chrono::nanoseconds(0);
  const auto passed = clock_.Now() - opened_;
  return std::max(std::chrono::nanoseconds(0),
                  std::chrono::nanoseconds(options_.open_for - passed));
}

}  // namespace weft::rpc
