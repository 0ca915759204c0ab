#include "services/gateway/limits_config.h"

#include <charconv>
#include <set>

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/identity/principal.h"
#include "libs/redis/url.h"
#include "libs/store/database.h"

namespace weft::gateway {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kMost = 1'000'000'000'000;

void BindScope(config::Binder& b, ScopeLimits& s, int64_t least, bool quotas) {
  b.Int("requests_per_second", &s.requests_per_second, least, 1'000'000, "");
  b.Int("requests_per_minute", &s.requests_per_minute, least, 100'000'000, "");
  b.Int("tokens_per_minute", &s.tokens_per_minute, least, kMost,
        "prompt and answer; an estimate is taken first and settled at the end");
  b.Int("concurrent", &s.concurrent, least, 1'000'000, "generations at once");
  if (!quotas) return;
  b.Int("tokens_per_month", &s.tokens_per_month, least, kMost, "in a calendar month, UTC");
  b.Float("money_per_month", &s.money_per_month, static_cast<double>(least), 1e9,
          "in the currency of gateway.usage");
}

absl::Status Number(const std::string& name, const std::string& text, int64_t& out) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 ||
      value > 100'000'000) {
    return InvalidArgument("environment {}: expected a number from 0 to 100000000", name);
  }
  out = value;
  return absl::OkStatus();
}

}  // namespace

std::string_view LimitScopeName(LimitScope scope) {
  constexpr std::string_view kNames[] = {"global", "key", "user", "tenant", "model", "address"};
  return kNames[static_cast<size_t>(scope)];
}

LimitsConfig::LimitsConfig() {
  ScopeLimits& global = scopes[static_cast<size_t>(LimitScope::kGlobal)];
  global.requests_per_minute = 1000;
  global.concurrent = 50;
}

absl::StatusOr<redis::Options> RedisConfig::Options() const {
  redis::Options out;
  auto endpoint = redis::ParseUrl(url);
  if (!endpoint.ok()) return Annotate(endpoint.status(), "gateway.redis.url");
  out.endpoint = *std::move(endpoint);
  out.tls = tls;
  out.connections = connections;
  out.timeout = timeout;
  out.connect_timeout = connect_timeout;
  WEFT_RETURN_IF_ERROR(Annotate(out.Validate(), "gateway.redis"));
  return out;
}

absl::Status LimitsConfig::Validate() const {
  std::set<std::pair<LimitScope, std::string>> seen;
  for (size_t i = 0; i < overrides.size(); ++i) {
    const LimitOverride& one = overrides[i];
    const auto bad = [&](const char* field, const char* why) {
      return InvalidArgument("gateway.limits.overrides[{}].{}: {}", i, field, why);
    };
    if (one.name.empty()) return bad("name", "missing");
    if (!seen.emplace(one.scope, one.name).second) return bad("name", "is there twice");
    if (one.scope != LimitScope::kTenant && (one.weight != 0 || !one.priority.empty())) {
      return bad("weight", "weight and priority are a tenant's");
    }
    int32_t ignored = 0;
    if (!one.priority.empty() && !identity::ParsePriority(one.priority, ignored)) {
      return bad("priority", "expected low, normal or high");
    }
  }
  return absl::OkStatus();
}

void Bind(config::Binder& b, RedisConfig& c) {
  b.Secret("url", &c.url,
           "redis://[[user]:password@]host[:port][/database], rediss:// for TLS, unix:///path; "
           "empty = none. REDIS_URL sets its default");
  b.Text("ca_file", &c.tls.ca_file, "PEM file: whom to trust; empty: the system's roots");
  b.Text("certificate_file", &c.tls.certificate_file, "PEM file: own certificate, for mutual TLS");
  b.Text("key_file", &c.tls.key_file, "PEM file: its private key");
  b.Text("server_name", &c.tls.server_name,
         "name to verify in the server's certificate; empty: the URL's host");
  b.Int("connections", &c.connections, 1, 1024, "open at once");
  b.Duration("timeout", &c.timeout, 1ms, 10s, "for one command; then Redis counts as away");
  b.Duration("connect_timeout", &c.connect_timeout, 10ms, 1min,
             "for connecting again while it is away");
}

void Bind(config::Binder& b, LimitsConfig& c) {
  using Backend = LimitsConfig::Backend;
  b.Choice("backend", &c.backend,
           {{"auto", Backend::kAuto}, {"local", Backend::kLocal}, {"redis", Backend::kRedis}},
           "where limits are counted: in each gateway, or in Redis for all; auto = Redis where "
           "gateway.redis.url is set");
  b.Choice("redis_down", &c.redis_down,
           {{"local", limits::WhenAway::kLocal}, {"refuse", limits::WhenAway::kRefuse}},
           "while Redis is away: each gateway counts by itself, or requests get 503");
  for (size_t i = 0; i < kLimitScopes; ++i) {
    const auto scope = static_cast<LimitScope>(i);
    const bool quotas =
        scope == LimitScope::kKey || scope == LimitScope::kUser || scope == LimitScope::kTenant;
    constexpr const char* kHelp[] = {
        ("All requests together; 0 = no limit. RATE_LIMIT_PER_MINUTE and MAX_CONCURRENT_REQUESTS "
         "set its defaults."),
        "Each API key; requests_per_minute 0 = as the key was made with.",
        "Each end user of a tenant (`user` of a request).",
        "Each tenant.",
        "Each model.",
        "Each address (IPv6: each /64)."};
    b.Section(LimitScopeName(scope), kHelp[i],
              [&](config::Binder& inner) { BindScope(inner, c.scopes[i], 0, quotas); });
  }
  b.Objects<LimitOverride>(
      "overrides", &c.overrides, 10'000,
      "other limits for one party; 0 = as for everybody, -1 = none",
      [](config::Binder& one, LimitOverride& o) {
        one.Choice("scope", &o.scope,
                   {{"key", LimitScope::kKey},
                    {"user", LimitScope::kUser},
                    {"tenant", LimitScope::kTenant},
                    {"model", LimitScope::kModel},
                    {"address", LimitScope::kAddress}},
                   "whose limits these are");
        one.Text("name", &o.name, "a key's id, a user, a tenant, a model's id or an address");
        BindScope(one, o.limits, -1, true);
        one.Float("weight", &o.weight, 0, 1000,
                  "of a tenant: its share of the queue beside others'; 0 = 1");
        one.Text("priority", &o.priority,
                 "of a tenant: that of requests which ask for none; low, normal or high");
      });
  b.Float("soft_quota", &c.soft_quota, 0.01, 1,
          "part of a monthly quota from which answers carry X-Weft-Quota and the log warns");
  b.Int("estimate_output_tokens", &c.estimate_output_tokens, 1, 1'000'000,
        "taken from token limits for an answer whose length the request does not bound");
}

void Bind(config::Binder& b, UsageConfig& c) {
  b.Bool("enabled", &c.enabled, "record what each request used");
  b.Text(
      "folder", &c.folder,
      "journal of what requests used, and of the audit's rows of it, on its way to the database; "
      "each gateway its own; empty = "
      "beside the database's file, for a PostgreSQL .weft/usage");
  b.Text("currency", &c.currency, "of prices and money limits", 1, 16);
  b.Objects<usage::Price>("prices", &c.prices, 10'000, "of a million tokens, by model",
                          [](config::Binder& one, usage::Price& p) {
                            one.Text("model", &p.model,
                                     "a model's id, a beginning with '*', or '*' for all");
                            one.Float("prompt", &p.prompt, 0, 1e9, "of prompts");
                            one.Float("cached_prompt", &p.cached_prompt, 0, 1e9,
                                      "of the parts of prompts that the prefix cache held");
                            one.Float("completion", &p.completion, 0, 1e9, "of answers");
                          });
}

std::string JournalFolder(const UsageConfig& config, const std::string& database) {
  if (!config.folder.empty()) return config.folder;
  return store::Database::IsPostgresUrl(database) ? ".weft/usage" : database + ".usage";
}

uint32_t DefaultKeyRate(std::string_view environment) {
  if (environment == "dev") return 100;
  return environment == "prod" ? 1000 : 60;
}

absl::Status ApplyDocumentedEnvironment(
    const std::vector<std::pair<std::string, std::string>>& environment, RedisConfig& redis,
    LimitsConfig& limits) {
  ScopeLimits& global = limits.scopes[static_cast<size_t>(LimitScope::kGlobal)];
  for (const auto& [name, value] : environment) {
    if (value.empty()) continue;
    if (name == "REDIS_URL") redis.url = value;
    if (name == "RATE_LIMIT_PER_MINUTE") {
      WEFT_RETURN_IF_ERROR(Number(name, value, global.requests_per_minute));
    }
    if (name == "MAX_CONCURRENT_REQUESTS") {
      WEFT_RETURN_IF_ERROR(Number(name, value, global.concurrent));
    }
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
