#include "services/gateway/traffic.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/limits/redis_limiter.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {
namespace {

const telemetry::Logger kLog("gateway.limits");

redis::Hooks HooksOf(telemetry::Registry& registry) {
  auto seconds = registry.HistogramWith(
      "weft_redis_command_duration_seconds", "Time of Redis commands", {"command"},
      {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1});
  auto errors =
      registry.CounterWith("weft_redis_errors_total", "Redis commands that failed", {"command"});
  redis::Hooks hooks;
  hooks.command = [seconds, errors](std::string_view name, std::chrono::nanoseconds took,
                                    const absl::Status& status) {
    seconds.With({name}).Observe(Seconds(took));
    if (!status.ok()) errors.With({name}).Increment();
  };
  hooks.connect = [](const absl::Status& status) {
    if (!status.ok()) kLog.Warning("Redis cannot be reached", {{"exception", status}});
  };
  return hooks;
}

absl::StatusOr<std::unique_ptr<usage::Spool>> OpenSpool(const std::string& folder,
                                                        const usage::Pricing& pricing,
                                                        std::shared_ptr<usage::UsageSink> sink,
                                                        const TrafficMetrics& metrics) {
  usage::SpoolOptions options;
  options.folder = folder;
  options.price = [pricing](usage::UsageRow& row) {
    row.cost_micros = pricing.CostMicros(row.model, row.prompt_tokens, row.cached_prompt_tokens,
                                         row.completion_tokens);
  };
  usage::SpoolHooks hooks;
  hooks.stored = [rows = metrics.usage_rows](size_t n) {
    rows.With({"stored"}).Increment(static_cast<double>(n));
  };
  hooks.store_failed = [rows = metrics.usage_rows](const absl::Status& status) {
    rows.With({"store_failed"}).Increment();
    kLog.Warning("usage could not be stored; it stays in the journal", {{"exception", status}});
  };
  hooks.damaged = [rows = metrics.usage_rows](const absl::Status& status) {
    rows.With({"damaged"}).Increment();
    kLog.Error("a line of the usage journal is lost", {{"exception", status}});
  };
  auto spool = usage::Spool::Open(std::move(options), std::move(sink), std::move(hooks));
  if (!spool.ok()) return Annotate(spool.status(), "gateway.usage.folder");
  return spool;
}

}  // namespace

absl::Status TrafficConfig::Validate() const {
  if (!redis.url.empty()) WEFT_RETURN_IF_ERROR(redis.Options().status());
  if (redis.url.empty() && limits.backend == LimitsConfig::Backend::kRedis) {
    return InvalidArgument("gateway.limits.backend: redis needs gateway.redis.url");
  }
  WEFT_RETURN_IF_ERROR(Annotate(usage::Pricing(usage.prices).Validate(), "gateway.usage.prices"));
  return limits.Validate();
}

void Bind(config::Binder& b, TrafficConfig& c) {
  b.Section("redis", "A Redis that several gateways share.",
            [&](config::Binder& inner) { Bind(inner, c.redis); });
  b.Section("limits", "Limits of requests, tokens and money (docs/limits.md).",
            [&](config::Binder& inner) { Bind(inner, c.limits); });
  b.Section("usage", "What requests used, and what it costs.",
            [&](config::Binder& inner) { Bind(inner, c.usage); });
}

absl::StatusOr<std::unique_ptr<Traffic>> Traffic::Make(const TrafficConfig& config,
                                                       telemetry::Registry& registry,
                                                       std::shared_ptr<UsageStore> store,
                                                       const std::string& journal,
                                                       const StoredQuotas* quotas) {
  std::unique_ptr<Traffic> out(new Traffic(registry));
  TrafficOptions options;
  options.limits = config.limits;
  options.pricing = usage::Pricing(config.usage.prices);
  options.quotas = quotas;
  if (!journal.empty()) {
    WEFT_ASSIGN_OR_RETURN(out->spool_, OpenSpool(journal, options.pricing, store, out->metrics_));
    out->watches_.push_back(registry.WatchGauge(
        "weft_usage_journal_bytes", "Usage that the store has not got", {},
        [spool = out->spool_.get()] { return static_cast<double>(spool->stats().written_bytes); }));
    if (const uint64_t lost = out->spool_->stats().recovered; lost > 0) {
      kLog.Warning("requests of a gateway that was killed were ended", {{"requests", lost}});
    }
  }
  // What is still in the journal is not in the sum: a moment at the start.
  const limits::QuotaSeed seed = [store](const limits::Charge& charge) {
    return store->UsedSoFar(charge);
  };
  auto limiter = limits::NewLocalLimiter(seed);
  bool shared = false;
  if (!config.redis.url.empty()) {
    WEFT_ASSIGN_OR_RETURN(redis::Options redis, config.redis.Options());
    redis.hooks = HooksOf(registry);
    WEFT_ASSIGN_OR_RETURN(out->redis_, redis::Client::Create(std::move(redis)));
    out->watches_.push_back(
        registry.WatchGauge("weft_redis_up", "1 while Redis answers", {},
                            [client = out->redis_.get()] { return client->up() ? 1.0 : 0.0; }));
    shared = config.limits.backend != LimitsConfig::Backend::kLocal;
  }
  if (shared) {
    limits::FallbackHooks hooks;
    hooks.away = [away = out->metrics_.away, when = config.limits.redis_down](const absl::Status&,
                                                                              bool local) {
      away.With({local                               ? "local"
                 : when == limits::WhenAway::kRefuse ? "refuse"
                                                     : "settle"})
          .Increment();
    };
    limiter =
        limits::NewFallbackLimiter(limits::NewRedisLimiter(*out->redis_, seed), std::move(limiter),
                                   config.limits.redis_down, std::move(hooks));
  }
  out->guard_ = std::make_unique<TrafficGuard>(std::move(options), std::move(limiter), shared,
                                               config.usage.enabled ? out->spool_.get() : nullptr,
                                               out->metrics_);
  return out;
}

Traffic::~Traffic() {
  for (const int watch : watches_) registry_.Unwatch(watch);
}

}  // namespace weft::gateway
