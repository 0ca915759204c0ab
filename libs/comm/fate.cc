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
  changed_.Notify();
}

absl::Status Fate::status() const {
  if (!aborted()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  return reason_;
}

}  // namespace weft::comm
