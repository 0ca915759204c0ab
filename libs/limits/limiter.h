// All the limits that one request has to pass, taken together or not at all.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/clock.h"

namespace weft::limits {

enum class Kind : uint8_t {
  kRate,        // `limit` units a window, of which `burst` may come at once (GCRA, ITU-T I.371)
  kConcurrent,  // at most `limit` requests at once
  kQuota,       // at most `limit` units in the period that the key names
};

// What a request takes of one limit.
struct Charge {
  std::string key;     // whose and which: "k:0kQ…:rpm"; a limiter's state has this name
  std::string policy;  // for people and headers: "key-requests"; letters, digits and '-'
  Kind kind = Kind::kRate;
  uint64_t limit = 0;                        // 0 refuses everything
  uint64_t burst = 0;                        // rate: 0 = the limit
  std::chrono::milliseconds window{60'000};  // rate; quota: what is left of the period
  uint64_t warn_at = 0;  // quota: from how many units on its party is told; 0: as the caller has it
  uint64_t cost = 1;     // units; a concurrent request is always one
};

// One limit after the request, or as it stands when the request was refused.
struct Standing {
  enum class Outcome : uint8_t { kPassed, kRefused, kNever };  // never: more than fits at once
  Outcome outcome = Outcome::kPassed;
  uint64_t remaining = 0;                    // units that could be taken now
  std::chrono::milliseconds reset{0};        // until all of it is there again; 0: not known
  std::chrono::milliseconds retry_after{0};  // of a refused one, when nobody else takes; 0: unknown
};

struct Verdict {
  bool allowed = true;
  std::vector<Standing> standings;  // one for each charge, in order
  // The one that binds: of those that refuse the one that takes longest, else the one with the
  // smallest part left. 0 when there are no charges.
  size_t binding = 0;
};

// How much of a quota was used before anybody counted here: asked for when a counter is new.
using QuotaSeed = std::function<absl::StatusOr<uint64_t>(const Charge& charge)>;

// Thread safe. A limiter over a shared store blocks for its round trip, in every method.
class Limiter {
 public:
  virtual ~Limiter() = default;
  // All charges or none; a refused request costs nothing. `lease` names the request, once.
  // UNAVAILABLE when the store is away.
  virtual absl::StatusOr<Verdict> Take(std::span<const Charge> charges, std::string_view lease) = 0;
  // The request is over. `actual[i]` is what charge i really cost, in place of charge.cost;
  // concurrent ones are given back whatever it says. Called once for each Take that passed.
  virtual absl::Status Settle(std::span<const Charge> charges, std::span<const uint64_t> actual,
                              std::string_view lease) = 0;
  // Keeps what is held from being taken for a dead process's. To be called every few seconds.
  virtual absl::Status Renew() { return absl::OkStatus(); }
};

// In this process. At most about `max_keys` rates are kept (full ones are forgotten first, as they
// are the same as new ones), and as many quotas.
std::unique_ptr<Limiter> NewLocalLimiter(QuotaSeed seed = nullptr, Clock& clock = Clock::Real(),
                                         size_t max_keys = 1'000'000);

// Which charge of a verdict binds; for limiters.
size_t BindingOf(std::span<const Charge> charges, std::span<const Standing> standings);

}  // namespace weft::limits
