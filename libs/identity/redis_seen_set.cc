#include "libs/identity/redis_seen_set.h"

#include <algorithm>
#include <string>

#include "libs/base/status.h"
#include "libs/redis/client.h"

namespace weft::identity {
namespace {

constexpr std::string_view kPrefix = "weft:seen:";

class RedisSeenSet final : public SeenSet {
 public:
  explicit RedisSeenSet(redis::Client& client) : client_(client) {}

  absl::StatusOr<bool> Add(std::string_view name, std::chrono::seconds keep) override {
    const std::string key = std::string(kPrefix).append(name);
    const std::string seconds = std::to_string(std::max<int64_t>(1, keep.count()));
    // One step: of two gateways that see a nonce at once, one is the first.
    const auto reply = client_.Run({"SET", key, "1", "NX", "EX", seconds});
    if (!reply.ok()) return Away(reply.status());
    return !reply->nil();
  }

  absl::StatusOr<bool> Contains(std::string_view name) override {
    const std::string key = std::string(kPrefix).append(name);
    const auto reply = client_.Run({"EXISTS", key});
    if (!reply.ok()) return Away(reply.status());
    return reply->integer != 0;
  }

 private:
  static absl::Status Away(const absl::Status& status) {
    return Unavailable("what was seen cannot be looked up: {}", Message(status));
  }

  redis::Client& client_;
};

}  // namespace

std::unique_ptr<SeenSet> NewRedisSeenSet(redis::Client& client) {
  return std::make_unique<RedisSeenSet>(client);
}

}  // namespace weft::identity
