#include "libs/comm/fate.h"

#include <utility>

#include "libs/base/status.h"

namespace weft::comm {

void Fate::Abort(absl::Status reason) {
  WEFT_CHECK(!reason.ok());
  {
    std::lock_guard lock(mutex_);
    if (aborted_.load(std::memory_order_relaxed)) return;
    reason_ = std::move(reason);
    aborted_.store(true);
  }
  changed_.notify_all();
}

absl::Status Fate::status() const {
  if (!aborted()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  return reason_;
}

// Sequentially consistent with parked_: either a rank about to park sees the change, or this one
// sees it parked and wakes it.
void Fate::Notify() {
  if (parked_.load() == 0) return;
  { std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

void Fate::Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace weft::comm
