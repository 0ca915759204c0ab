#include "libs/redis/reply.h"

#include <string_view>

#include "libs/base/status.h"

namespace weft::redis {

absl::Status ErrorOf(const Reply& reply) {
  if (!reply.error()) return absl::OkStatus();
  const std::string_view word = std::string_view(reply.text).substr(0, reply.text.find(' '));
  for (const std::string_view now :
       {"LOADING", "BUSY", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"}) {
    if (word == now) return Unavailable("redis: {}", reply.text);
  }
  if (word == "OOM") return ResourceExhausted("redis: {}", reply.text);
  for (const std::string_view denied : {"NOAUTH", "WRONGPASS", "NOPERM"}) {
    if (word == denied) return PermissionDenied("redis: {}", reply.text);
  }
  return FailedPrecondition("redis: {}", reply.text);
}

}  // namespace weft::redis
