// Idempotency-Key: a write that is sent again gets the answer of the first one and is not done
// twice (draft-ietf-httpapi-idempotency-key-header).
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "libs/base/clock.h"
#include "libs/http/exchange.h"
#include "libs/http/router.h"

namespace weft::gateway {

struct IdempotencyOptions {
  std::chrono::milliseconds ttl{24 * 3600 * 1000};
  uint64_t max_bytes = 64 << 20;  // of all answers that are kept
};

// Thread safe and not blocking for long.
class IdempotencyStore {
 public:
  enum class Found : uint8_t {
    kNew,        // the caller does the work, then calls Finish or Abandon
    kInFlight,   // another request with this key and fingerprint works
    kDifferent,  // the key was used for another request
    kAnswered,
  };
  struct Lookup {
    Found found = Found::kNew;
    http::Response answer;  // kAnswered
  };

  virtual ~IdempotencyStore() = default;
  virtual Lookup Begin(const std::string& key, const std::string& fingerprint) = 0;
  virtual void Finish(const std::string& key, http::Response answer) = 0;
  virtual void Abandon(const std::string& key) = 0;  // the next one with this key is new
};

// Of this process. The oldest answers go when there are too many bytes; a request that is under way
// stays.
std::unique_ptr<IdempotencyStore> NewLocalIdempotencyStore(const IdempotencyOptions& options = {},
                                                           Clock& clock = Clock::Real());

// Gives a write with an Idempotency-Key an exchange that keeps its answer. Others come back as they
// are. nullptr: the exchange was answered: with the kept answer (`Idempotency-Replayed: true`), 409
// while the first one works, 422 for another request under the same key, 400 for a key that is
// none. A key belongs to who made the request. Not kept: streams, answers beyond a megabyte, 408,
// 429 and from 500 on: those may be tried again.
http::ExchangePtr Idempotent(const std::shared_ptr<IdempotencyStore>& store,
                             const http::ExchangePtr& exchange);

// The same routes, their handlers behind Idempotent.
std::shared_ptr<const http::Router> WithIdempotency(const http::Router& router,
                                                    std::shared_ptr<IdempotencyStore> store);

}  // namespace weft::gateway
