// cache stats | invalidate: the response cache, through the gateway's CacheService.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "libs/base/status.h"
#include "services/weftctl/admin_connection.h"
#include "services/weftctl/commands.h"

namespace weft::ctl {
namespace {

struct CacheFlags {
  AdminFlags admin;
  std::string tenant;
  std::string model;
  std::string pattern;
  bool all = false;
  bool json = false;
};

absl::StatusOr<int> Stats(const CacheFlags& flags) {
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::GetCacheStatsResponse stats;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.cache->GetCacheStats(&context, {}, &stats)));
  const uint64_t asked = stats.hits() + stats.misses() + stats.coalesced();
  const double rate = asked == 0 ? 0
                                 : static_cast<double>(stats.hits() + stats.coalesced()) /
                                       static_cast<double>(asked);
  if (flags.json) {
    const nlohmann::ordered_json out = {
        {"enabled", stats.enabled()},     {"entries", stats.entries()},
        {"bytes", stats.bytes()},         {"hits", stats.hits()},
        {"misses", stats.misses()},       {"coalesced", stats.coalesced()},
        {"evictions", stats.evictions()}, {"hit_rate", rate}};
    fmt::print("{}\n", out.dump());
    return 0;
  }
  if (!stats.enabled()) {
    fmt::print("the response cache is disabled (gateway.cache)\n");
    return 0;
  }
  fmt::print("answers    {} in {} bytes, {} evicted\n", stats.entries(), stats.bytes(),
             stats.evictions());
  fmt::print("requests   {} hits, {} shared, {} misses: {:.1f} % without the model\n", stats.hits(),
             stats.coalesced(), stats.misses(), rate * 100);
  return 0;
}

absl::StatusOr<int> Invalidate(const CacheFlags& flags) {
  const bool some = !flags.tenant.empty() || !flags.model.empty() || !flags.pattern.empty();
  if (some == flags.all) {
    return InvalidArgument("give --tenant, --model, --pattern or several, or --all alone");
  }
  WEFT_ASSIGN_OR_RETURN(const AdminConnection admin, ConnectAdmin(flags.admin));
  v1::InvalidateCacheRequest request;
  request.set_tenant(flags.tenant);
  request.set_model(flags.model);
  request.set_pattern(flags.pattern);
  request.set_all(flags.all);
  grpc::ClientContext context;
  admin.Prepare(context);
  v1::InvalidateCacheResponse response;
  WEFT_RETURN_IF_ERROR(FromGrpc(admin.cache->InvalidateCache(&context, request, &response)));
  fmt::print("dropped {} answers\n", response.invalidated());
  return 0;
}

}  // namespace

void AddCacheCommands(CLI::App& app, Commands& commands) {
  auto flags = std::make_shared<CacheFlags>();
  auto* group = app.add_subcommand("cache", "the gateway's response cache");
  group->require_subcommand(1);
  auto* stats = group->add_subcommand("stats", "what it holds and how often it helped");
  stats->add_flag("--json", flags->json, "as one JSON object");
  AddAdminFlags(stats, flags->admin);
  commands.push_back({stats, [flags] { return Stats(*flags); }});

  auto* invalidate =
      group->add_subcommand("invalidate", "drop answers; what is given must all hold");
  invalidate->add_option("--tenant", flags->tenant, "whose");
  invalidate->add_option("--model", flags->model, "of which model");
  invalidate->add_option("--pattern", flags->pattern,
                         "over keys, code_gen:TENANT:MODEL:HASH, with * and ?");
  invalidate->add_flag("--all", flags->all, "everything");
  AddAdminFlags(invalidate, flags->admin);
  commands.push_back({invalidate, [flags] { return Invalidate(*flags); }});
}

}  // namespace weft::ctl
