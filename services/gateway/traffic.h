// Redis, limits and usage of a gateway, made from its configuration.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <vector>

#include "libs/redis/client.h"
#include "libs/telemetry/metrics.h"
#include "libs/usage/spool.h"
#include "services/gateway/traffic_guard.h"

namespace weft::gateway {

struct TrafficConfig {
  RedisConfig redis;
  LimitsConfig limits;
  UsageConfig usage;

  absl::Status Validate() const;
};

// Declares gateway.redis, gateway.limits and gateway.usage.
void Bind(config::Binder& binder, TrafficConfig& config);

// What the store of usage offers. Thread safe; blocks.
class UsageStore : public usage::UsageSink {
 public:
  // What a quota's party has used since the day or the month began: requests, tokens, or cost in
  // micro-units. The charge's key says whose and which (quota_book.h).
  virtual absl::StatusOr<uint64_t> UsedSoFar(const limits::Charge& charge) = 0;
};

class Traffic {
 public:
  // `journal` is the folder of usage and notes on their way to the store; empty: none. `quotas`
  // (nullptr: none beside the configuration's) and `registry` outlive it.
  static absl::StatusOr<std::unique_ptr<Traffic>> Make(const TrafficConfig& config,
                                                       telemetry::Registry& registry,
                                                       std::shared_ptr<UsageStore> store,
                                                       const std::string& journal,
                                                       const StoredQuotas* quotas = nullptr);
  ~Traffic();

  TrafficGuard& guard() { return *guard_; }
  redis::Client* redis() { return redis_.get(); }  // nullptr: none is configured
  usage::Spool* spool() { return spool_.get(); }   // nullptr: there is no journal

 private:
  explicit Traffic(telemetry::Registry& registry) : registry_(registry), metrics_(registry) {}

  telemetry::Registry& registry_;
  TrafficMetrics metrics_;
  std::vector<int> watches_;
  std::unique_ptr<redis::Client> redis_;
  std::unique_ptr<usage::Spool> spool_;
  std::unique_ptr<TrafficGuard> guard_;
};

}  // namespace weft::gateway
