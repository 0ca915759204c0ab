#include "services/gateway/cache_config.h"

#include <charconv>

#include "libs/base/status.h"
#include "libs/config/binder.h"

namespace weft::gateway {

using namespace std::chrono_literals;

void Bind(config::Binder& b, CacheConfig& c) {
  using Backend = CacheConfig::Backend;
  b.Bool("enabled", &c.enabled, "keep answers and give them again");
  b.Choice("backend", &c.backend,
           {{"auto", Backend::kAuto}, {"local", Backend::kLocal}, {"redis", Backend::kRedis}},
           "where, besides in the gateway itself; auto = in Redis where gateway.redis.url is set");
  b.Bytes("max_bytes", &c.max_bytes, 0, uint64_t{1} << 40,
          "of answers in the gateway itself; CACHE_SIZE_MB sets its default");
  b.Bytes("max_answer_bytes", &c.max_answer_bytes, 1024, uint64_t{64} << 20,
          "of one answer; a longer one is not kept");
  b.Duration("ttl", &c.ttl, 1s, 24h * 30, "how long an answer is given again");
}

absl::Status ApplyDocumentedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& environment, CacheConfig& config) {
  for (const auto& [name, value] : environment) {
    if (name != "CACHE_SIZE_MB" || value.empty()) continue;
    uint64_t megabytes = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), megabytes);
    if (error != std::errc() || end != value.data() + value.size() || megabytes > 1'000'000) {
      return InvalidArgument("environment CACHE_SIZE_MB: expected a number from 0 to 1000000");
    }
    config.max_bytes = megabytes << 20;
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
