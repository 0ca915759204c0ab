// Groups whose ranks are threads of one process.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <vector>

#include "libs/comm/communicator.h"

namespace weft::comm {

class Fate;

struct InProcessOptions {
  int size = 1;
  // How long a rank waits for the others in one call.
  std::chrono::milliseconds timeout{30'000};
  // Before a waiting rank parks. 0 where there are more threads than processors.
  std::chrono::microseconds spin{0};
  // Groups with the same fate are torn down together; null: a fate of its own.
  std::shared_ptr<Fate> fate = nullptr;

  absl::Status Validate() const;
};

inline constexpr int kMaxRanks = 64;

std::shared_ptr<Fate> MakeFate();

// The communicators of ranks 0 to size - 1. What is exchanged passes through memory that the group
// owns, so a rank that left after an error never touches another's buffers.
absl::StatusOr<std::vector<std::unique_ptr<Communicator>>> MakeInProcessGroup(
    const InProcessOptions& options);

}  // namespace weft::comm
