#include "libs/spans/memory_limiter.h"

namespace weft::spans {

MemoryLease::~MemoryLease() {
  if (limiter_ != nullptr) limiter_->used_.fetch_sub(bytes_, std::memory_order_relaxed);
}

std::optional<MemoryLease> MemoryLimiter::TryAcquire(size_t bytes) {
  size_t used = used_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_ || used > limit_ - bytes) return std::nullopt;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return MemoryLease(this, bytes);
}

MemoryLease MemoryLimiter::Acquire(size_t bytes) {
  used_.fetch_add(bytes, std::memory_order_relaxed);
  return {this, bytes};
}

}  // namespace weft::spans
