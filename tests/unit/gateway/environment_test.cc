// What the documented variables and the environment's name set.
#include "services/gateway/identity_config.h"
#include "services/gateway/limits_config.h"
#include "tests/support/catch.h"

using namespace weft::gateway;

TEST_CASE("The environment decides about the rate of keys that are made without", "[gateway]") {
  CHECK(DefaultKeyRate("dev") == 100);
  CHECK(DefaultKeyRate("prod") == 1000);
  CHECK(DefaultKeyRate("staging") == 60);
  CHECK(DefaultKeyRate("") == 60);
}

TEST_CASE("ENVIRONMENT names the environment", "[gateway]") {
  const auto named = [](const char* value) {
    IdentityConfig identity;
    const absl::Status status = ApplyDocumentedEnvironment({{"ENVIRONMENT", value}}, identity);
    return status.ok() ? identity.environment : std::string(status.message());
  };
  CHECK(named("production") == "prod");
  CHECK(named("development") == "dev");
  CHECK(named("staging") == "staging");
  CHECK(named("") == IdentityConfig().environment);
  CHECK(named("No Name").find("ENVIRONMENT") != std::string::npos);
}

TEST_CASE("The global throttle has the documented defaults and variables", "[gateway]") {
  LimitsConfig limits;
  RedisConfig redis;
  const ScopeLimits& global = limits.scopes[static_cast<size_t>(LimitScope::kGlobal)];
  CHECK(global.requests_per_minute == 1000);
  CHECK(global.concurrent == 50);
  REQUIRE(ApplyDocumentedEnvironment({{"RATE_LIMIT_PER_MINUTE", "7"},
                                      {"MAX_CONCURRENT_REQUESTS", "3"},
                                      {"REDIS_URL", "redis://h"}},
                                     redis, limits)
              .ok());
  CHECK(global.requests_per_minute == 7);
  CHECK(global.concurrent == 3);
  CHECK(redis.url == "redis://h");
  CHECK_FALSE(ApplyDocumentedEnvironment({{"RATE_LIMIT_PER_MINUTE", "many"}}, redis, limits).ok());
}
