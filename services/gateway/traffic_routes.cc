#include "services/gateway/traffic_routes.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "libs/telemetry/log.h"
#include "services/gateway/admin_call.h"
#include "services/gateway/admission.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"

namespace weft::gateway {
namespace {

using identity::Permission;
using nlohmann::ordered_json;
using DepsPtr = std::shared_ptr<const ApiDeps>;

const telemetry::Logger kLog("gateway.cache");

void SendCacheStats(const DepsPtr& deps, const Call& call) {
  ordered_json out;
  out["object"] = "cache";
  out["enabled"] = deps->cache->store() != nullptr;
  if (deps->cache->store() != nullptr) {
    const cache::ResponseCache::Stats stats = deps->cache->store()->stats();
    const AnswerCache::Counts counts = deps->cache->counts();
    out["entries"] = stats.entries;
    out["bytes"] = stats.bytes;
    out["evictions"] = stats.evictions;
    out["hits"] = counts.hits;
    out["misses"] = counts.misses;
    out["coalesced"] = counts.coalesced;
  }
  call.SendJson(200, Dump(out));
}

absl::StatusOr<cache::KeyPattern> ParsePattern(const Call& call) {
  WEFT_ASSIGN_OR_RETURN(const nlohmann::json body, ParseStrictJson(call.request().body));
  if (!body.is_object()) return InvalidArgument("The request body must be a JSON object.");
  ParamReader r(body, "");
  cache::KeyPattern pattern;
  pattern.tenant = r.Text("tenant", "", 100);
  pattern.model = r.Text("model", "", 256);
  pattern.glob = r.Text("pattern", "", 1024);
  const bool all = r.Bool("all", false);
  WEFT_RETURN_IF_ERROR(r.Finish());
  WEFT_RETURN_IF_ERROR(CheckPattern(pattern, all));
  return pattern;
}

void InvalidateCache(const DepsPtr& deps, const Call& call) {
  auto pattern = ParsePattern(call);
  if (!pattern.ok()) return call.Fail(pattern.status());
  Blocking(*deps, call, Work::kShort, [deps, call, pattern = std::move(*pattern)] {
    const auto gone = Invalidate(*deps, call.actor(), pattern);
    if (!gone.ok()) return call.Fail(gone.status());
    call.SendJson(200, Dump({{"object", "cache.invalidation"}, {"invalidated", *gone}}));
  });
}

}  // namespace

absl::Status CheckPattern(const cache::KeyPattern& pattern, bool all) {
  if (all != pattern.all()) {
    return ParamError("all", "invalid_value",
                      all ? "Invalid 'all': give it alone."
                          : "Give 'tenant', 'model', 'pattern' or 'all': true.");
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Invalidate(const ApiDeps& deps, const Actor& actor,
                                    cache::KeyPattern pattern) {
  if (deps.cache->store() == nullptr) {
    return FailedPrecondition("The response cache is disabled.");
  }
  const identity::Principal& who = *actor.principal;
  const auto keep = [&](const char* outcome) {
    identity::AuditEvent event = AuditOf(actor, deps.generation.clock->Wall(), "cache:clear",
                                         "cache", pattern.Encode(), outcome);
    return deps.audit->Keep(std::move(event));
  };
  if (pattern.tenant.empty() && !who.Can(Permission::kTenantsCross)) pattern.tenant = who.tenant;
  if (!pattern.tenant.empty()) {
    if (absl::Status status = identity::CheckTenant(who, pattern.tenant); !status.ok()) {
      keep("denied").IgnoreError();
      return status;
    }
  }
  const auto gone = deps.cache->store()->Invalidate(pattern);
  WEFT_RETURN_IF_ERROR(
      StoreTrouble("an audit row could not be written", keep(gone.ok() ? "ok" : "failed")));
  if (!gone.ok()) {
    kLog.Warning("the cache could not be invalidated in Redis", {{"exception", gone.status()}});
    return WithRetryAfter(
        Unavailable("This gateway's answers are gone, but Redis cannot be reached. Please try "
                    "again."),
        std::chrono::seconds(1));
  }
  return gone;
}

absl::Status AddTrafficRoutes(const DepsPtr& deps, EndpointTable& table) {
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  "/v1/cache",
                                  Permission::kCacheRead,
                                  true,
                                  {.operation_id = "getCache",
                                   .summary = "This gateway's response cache: size and hits",
                                   .tag = "Administration",
                                   .response = "Cache"},
                                  [deps](const Call& call) { SendCacheStats(deps, call); }}));
  return table.Add({"POST",
                    "/v1/cache/invalidate",
                    Permission::kCacheClear,
                    true,
                    {.operation_id = "invalidateCache",
                     .summary = "Drops cached answers by tenant, model, pattern, or all",
                     .description = "What is given must all hold. A pattern is over keys, "
                                    "`code_gen:TENANT:MODEL:HASH`, with `*` and `?`.",
                     .tag = "Administration",
                     .request = "InvalidateCacheRequest",
                     .response = "InvalidatedCache"},
                    [deps](const Call& call) { InvalidateCache(deps, call); }});
}

}  // namespace weft::gateway
