// A SeenSet in Redis: one for all gateways.
#pragma once

#include <memory>

#include "libs/identity/seen_set.h"

namespace weft::redis {
class Client;
}

namespace weft::identity {

// `client` outlives it. While Redis is away everything is UNAVAILABLE: what was seen cannot be
// known, so nothing may count as new.
std::unique_ptr<SeenSet> NewRedisSeenSet(redis::Client& client);

}  // namespace weft::identity
