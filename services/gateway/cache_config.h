// `gateway.cache`.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct CacheConfig {
  enum class Backend : uint8_t { kAuto, kLocal, kRedis };

  bool enabled = true;
  Backend backend = Backend::kAuto;
  uint64_t max_bytes = uint64_t{512} << 20;
  uint64_t max_answer_bytes = uint64_t{1} << 20;
  std::chrono::milliseconds ttl{3'600'000};
};

void Bind(config::Binder& binder, CacheConfig& config);

// CACHE_SIZE_MB sets the default of max_bytes. INVALID_ARGUMENT names the variable.
absl::Status ApplyDocumentedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& environment, CacheConfig& config);

}  // namespace weft::gateway
