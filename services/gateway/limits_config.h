// `gateway.redis`, `gateway.limits` and `gateway.usage`.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "libs/limits/fallback_limiter.h"
#include "libs/redis/options.h"
#include "libs/usage/pricing.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct RedisConfig {
  std::string url;  // empty: no Redis
  redis::TlsFiles tls;
  uint32_t connections = 8;
  std::chrono::milliseconds timeout{100};
  std::chrono::milliseconds connect_timeout{1'000};

  absl::StatusOr<redis::Options> Options() const;
};

// 0: no limit; in an override, as for everybody. -1, in an override: no limit.
struct ScopeLimits {
  int64_t requests_per_second = 0;
  int64_t requests_per_minute = 0;
  int64_t tokens_per_minute = 0;
  int64_t concurrent = 0;
  int64_t tokens_per_month = 0;
  double money_per_month = 0;
};

enum class LimitScope : uint8_t { kGlobal, kKey, kUser, kTenant, kModel, kAddress };
inline constexpr size_t kLimitScopes = 6;
std::string_view LimitScopeName(LimitScope scope);

// Other limits for one party, and of a tenant its share of the queue.
struct LimitOverride {
  LimitScope scope = LimitScope::kTenant;
  std::string name;  // a key's id, a user, a tenant, a model's id, an address
  ScopeLimits limits;
  double weight = 0;     // tenant: 0 = 1
  std::string priority;  // tenant: of requests that ask for none; empty = normal
};

struct LimitsConfig {
  enum class Backend : uint8_t { kAuto, kLocal, kRedis };

  LimitsConfig();
  Backend backend = Backend::kAuto;
  limits::WhenAway redis_down = limits::WhenAway::kLocal;
  ScopeLimits scopes[kLimitScopes];  // by LimitScope
  std::vector<LimitOverride> overrides;
  double soft_quota = 0.8;                // of a monthly quota
  uint32_t estimate_output_tokens = 512;  // where a request does not bound its answer

  absl::Status Validate() const;
};

struct UsageConfig {
  bool enabled = true;
  std::string folder;  // of the journal; empty: beside the database
  std::string currency = "USD";
  std::vector<usage::Price> prices;
};

void Bind(config::Binder& binder, RedisConfig& config);
void Bind(config::Binder& binder, LimitsConfig& config);
void Bind(config::Binder& binder, UsageConfig& config);

// The journal's folder: beside a database that is a file, else in the state directory. The audit's
// rows of used models go through it too, also where usage is not recorded.
std::string JournalFolder(const UsageConfig& config, const std::string& database);

// Requests a minute of a key that is made without, by its environment (requirement 000): dev 100,
// prod 1000, others 60.
uint32_t DefaultKeyRate(std::string_view environment);

// The variables that deployments know by other names: REDIS_URL, RATE_LIMIT_PER_MINUTE and
// MAX_CONCURRENT_REQUESTS set defaults, which file, WEFT_… and --set override. INVALID_ARGUMENT
// names the variable.
absl::Status ApplyDocumentedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& environment, RedisConfig& redis,
    LimitsConfig& limits);

}  // namespace weft::gateway
