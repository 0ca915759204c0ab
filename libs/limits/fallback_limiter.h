// A shared limiter, and what happens while its store is away.
#pragma once

#include <functional>
#include <memory>

#include "libs/limits/limiter.h"

namespace weft::limits {

enum class WhenAway : uint8_t {
  kLocal,   // every gateway counts by itself, with the same limits
  kRefuse,  // UNAVAILABLE
};

struct FallbackHooks {
  // A Take or Settle that the store could not do; `local` says that the other limiter did it.
  std::function<void(const absl::Status&, bool local)> away;
};

// What was taken from one limiter is settled with it. A settlement that the store could not take is
// kept, up to a bound, and done again by Renew.
std::unique_ptr<Limiter> NewFallbackLimiter(std::unique_ptr<Limiter> shared,
                                            std::unique_ptr<Limiter> local, WhenAway when_away,
                                            FallbackHooks hooks = {});

}  // namespace weft::limits
