// Names that were seen lately: nonces of signed requests (each is good once), and tokens that were
// revoked before they ended.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>

#include "libs/base/clock.h"

namespace weft::identity {

// Thread safe. One over a shared store blocks for its round trip.
class SeenSet {
 public:
  virtual ~SeenSet() = default;
  // Whether the name was not there; it is now, for `keep`. UNAVAILABLE or RESOURCE_EXHAUSTED when
  // it cannot be remembered: then it must count as seen.
  virtual absl::StatusOr<bool> Add(std::string_view name, std::chrono::seconds keep) = 0;
  virtual absl::StatusOr<bool> Contains(std::string_view name) = 0;
};

// In this process. When `max_names` are remembered, nothing is forgotten before its time: Add is
// RESOURCE_EXHAUSTED.
std::unique_ptr<SeenSet> NewLocalSeenSet(Clock& clock = Clock::Real(),
                                         size_t max_names = 1'000'000);

}  // namespace weft::identity
