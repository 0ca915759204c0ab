// What Redis answers (RESP 2).
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <string>
#include <vector>

namespace weft::redis {

struct Reply {
  enum class Kind : uint8_t { kNil, kInteger, kString, kStatus, kError, kArray };
  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text = {};  // of a string, status ("OK") or error ("ERR …")
  std::vector<Reply> items = {};

  bool nil() const { return kind == Kind::kNil; }
  bool error() const { return kind == Kind::kError; }
};

// An error reply as a status: UNAVAILABLE for a server that cannot serve now (LOADING, BUSY,
// READONLY, MASTERDOWN, CLUSTERDOWN, TRYAGAIN), RESOURCE_EXHAUSTED for OOM, PERMISSION_DENIED for
// NOAUTH, WRONGPASS and NOPERM, else FAILED_PRECONDITION. OK for every other reply.
absl::Status ErrorOf(const Reply& reply);

}  // namespace weft::redis
