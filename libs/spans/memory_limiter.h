// How many bytes of spans may be in the collector at once.
#pragma once

#include <atomic>
#include <optional>

#include "libs/spans/stage.h"

namespace weft::spans {

// Thread safe. Must outlive all leases.
class MemoryLimiter {
 public:
  explicit MemoryLimiter(size_t limit_bytes) : limit_(limit_bytes) {}

  // For what comes from outside: nothing when it would not fit.
  std::optional<MemoryLease> TryAcquire(size_t bytes);
  // For what is inside already and only changes its shape.
  MemoryLease Acquire(size_t bytes);

  size_t used() const { return used_.load(std::memory_order_relaxed); }
  size_t limit() const { return limit_; }

 private:
  friend class MemoryLease;
  const size_t limit_;
  std::atomic<size_t> used_ = 0;
};

}  // namespace weft::spans
