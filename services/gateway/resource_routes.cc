#include "services/gateway/resource_routes.h"

#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "services/gateway/admin_call.h"
#include "services/gateway/resource_schemas.h"

namespace weft::gateway {
namespace {

using DepsPtr = std::shared_ptr<const ApiDeps>;
using identity::Permission;
using nlohmann::json;
using nlohmann::ordered_json;
using store::ResourceType;

absl::Status AddType(const DepsPtr& deps, EndpointTable& table, const ResourceType& type) {
  const std::string path = fmt::format("/v1/admin/{}", type.name);
  const std::string title = SchemaTitle(type.singular);
  const std::string plural = SchemaTitle(type.name);
  const Permission read = ResourcePermission(type, false);
  const Permission write = ResourcePermission(type, true);
  ResourceAdmin* const admin = deps->resources;
  const std::string scope = type.name == "tenants" ? "" : "tenant";
  const auto queries = [&](std::vector<std::string> names) {
    if (!scope.empty()) names.insert(names.begin(), scope);
    return names;
  };
  WEFT_RETURN_IF_ERROR(table.Add(
      {"GET",
       path,
       read,
       true,
       {.operation_id = "list" + plural,
        .summary = fmt::format("{}: lists them", type.meaning),
        .description = "A page in the order of ids. `tenant` is one's own where it is missing, "
                       "`*` is all; `after` is the last id of the page before (with `*`: "
                       "`tenant/id`).",
        .tag = "Administration",
        .response = title + "List",
        .query = queries({"after", "limit"})},
       [deps, admin, &type](const Call& call) {
         const auto limit = QueryNumber(call, "limit", 100, 1, 999);
         if (!limit.ok()) return call.Fail(limit.status());
         Blocking(*deps, call, Work::kShort, [call, admin, &type, limit = *limit] {
           Answer(call, 200,
                  admin->List(call.actor(), type, Query(call, "tenant"), Query(call, "after"),
                              static_cast<size_t>(limit)));
         });
       }}));
  WEFT_RETURN_IF_ERROR(table.Add(
      {"POST",
       path,
       write,
       true,
       {.operation_id = "create" + title,
        .summary = fmt::format("{}: makes one", type.meaning),
        .tag = "Administration",
        .request = "Create" + title,
        .response = title,
        .status = 201,
        .query = queries({})},
       [deps, admin, &type](const Call& call) {
         WithBody(*deps, call, Work::kShort, 201, [call, admin, &type](json body) {
           return admin->Create(call.actor(), type, Query(call, "tenant"), std::move(body));
         });
       }}));
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  path + "/{id}",
                                  read,
                                  true,
                                  {.operation_id = "get" + title,
                                   .summary = fmt::format("{}: shows one", type.meaning),
                                   .tag = "Administration",
                                   .response = title,
                                   .query = queries({})},
                                  [deps, admin, &type](const Call& call) {
                                    Blocking(*deps, call, Work::kShort, [call, admin, &type] {
                                      Answer(call, 200,
                                             admin->Get(call.actor(), type, Query(call, "tenant"),
                                                        call.request().Param("id")));
                                    });
                                  }}));
  WEFT_RETURN_IF_ERROR(
      table.Add({"PATCH",
                 path + "/{id}",
                 write,
                 true,
                 {.operation_id = "update" + title,
                  .summary = fmt::format("{}: changes one", type.meaning),
                  .description = "Only the members that are sent change; null is the default.",
                  .tag = "Administration",
                  .request = "Update" + title,
                  .response = title,
                  .query = queries({})},
                 [deps, admin, &type](const Call& call) {
                   WithBody(*deps, call, Work::kShort, 200, [call, admin, &type](json body) {
                     return admin->Update(call.actor(), type, Query(call, "tenant"),
                                          call.request().Param("id"), std::move(body));
                   });
                 }}));
  if (type.name == "tenants") return absl::OkStatus();  // they are erased, not removed
  return table.Add(
      {"DELETE",
       path + "/{id}",
       write,
       true,
       {.operation_id = "delete" + title,
        .summary = fmt::format("{}: removes one", type.meaning),
        .tag = "Administration",
        .response = "Deleted",
        .query = queries({})},
       [deps, admin, &type](const Call& call) {
         Blocking(*deps, call, Work::kShort, [call, admin, &type] {
           const std::string id(call.request().Param("id"));
           const absl::Status status = admin->Remove(call.actor(), type, Query(call, "tenant"), id);
           if (!status.ok()) return call.Fail(status);
           call.SendJson(200, Dump({{"object", type.singular}, {"id", id}, {"deleted", true}}));
         });
       }});
}

absl::StatusOr<store::AuditFilter> ReadFilter(const Call& call) {
  store::AuditFilter filter;
  constexpr int64_t kMax = INT64_MAX;
  WEFT_ASSIGN_OR_RETURN(filter.after_seq, QueryNumber(call, "after", 0, 0, kMax));
  WEFT_ASSIGN_OR_RETURN(filter.from_us, QueryNumber(call, "from_us", 0, 0, kMax));
  WEFT_ASSIGN_OR_RETURN(filter.until_us, QueryNumber(call, "until_us", 0, 0, kMax));
  WEFT_ASSIGN_OR_RETURN(const int64_t limit, QueryNumber(call, "limit", 100, 1, 999));
  filter.limit = static_cast<size_t>(limit);
  filter.user_id = Query(call, "user_id");
  filter.action = Query(call, "action");
  filter.resource_type = Query(call, "resource_type");
  filter.resource_id = Query(call, "resource_id");
  const std::string order = Query(call, "order");
  if (!order.empty() && order != "asc" && order != "desc") {
    return WithField(InvalidArgument("order: must be asc or desc"), "order");
  }
  filter.newest_first = order == "desc";
  return filter;
}

}  // namespace

absl::Status AddResourceRoutes(const DepsPtr& deps, EndpointTable& table) {
  for (const ResourceType& type : store::ResourceTypes()) {
    WEFT_RETURN_IF_ERROR(AddType(deps, table, type));
  }
  ResourceAdmin* const admin = deps->resources;
  return table.Add(
      {"GET",
       "/v1/usage",
       Permission::kUsageRead,
       true,
       {.operation_id = "getUsage",
        .summary = "What was used: requests, tokens and cost",
        .description = "Sums of days (UTC), `from` and `until` included (2026-01-31). `group_by`: "
                       "any of day, month, tenant, project, user, key and model, separated by "
                       "commas.",
        .tag = "Administration",
        .response = "UsageList",
        .query = {"tenant", "from", "until", "group_by", "project", "user", "key", "model"}},
       [deps, admin](const Call& call) {
         store::UsageFilter filter;
         filter.from_day = Query(call, "from");
         filter.until_day = Query(call, "until");
         filter.group_by = SplitWords(Query(call, "group_by"), ',');
         filter.project = Query(call, "project");
         filter.user_id = Query(call, "user");
         filter.key_id = Query(call, "key");
         filter.model = Query(call, "model");
         Blocking(*deps, call, Work::kShort, [call, admin, filter] {
           Answer(call, 200, admin->Usage(call.actor(), Query(call, "tenant"), filter));
         });
       }});
}

absl::Status AddAuditRoutes(const DepsPtr& deps, EndpointTable& table) {
  ResourceAdmin* const admin = deps->resources;
  WEFT_RETURN_IF_ERROR(table.Add(
      {"GET",
       "/v1/admin/audit",
       Permission::kAuditRead,
       true,
       {.operation_id = "listAudit",
        .summary = "The audit: who did what, on what, from where",
        .description = "Rows of one tenant's chain behind the number `after` (with `order=desc`: "
                       "before it). `tenant` is one's own where it is missing, `*` the gateway's "
                       "own chain.",
        .tag = "Audit",
        .response = "AuditList",
        .query = {"tenant", "after", "limit", "order", "user_id", "action", "resource_type",
                  "resource_id", "from_us", "until_us"}},
       [deps, admin](const Call& call) {
         auto filter = ReadFilter(call);
         if (!filter.ok()) return call.Fail(filter.status());
         Blocking(*deps, call, Work::kShort, [call, admin, filter = *std::move(filter)] {
           Answer(call, 200, admin->Audit(call.actor(), Query(call, "tenant"), filter));
         });
       }}));
  return table.Add(
      {"GET",
       "/v1/admin/audit/verify",
       Permission::kAuditRead,
       true,
       {.operation_id = "verifyAudit",
        .summary = "Whether a row of the audit was changed, removed, added or moved",
        .description = "`tenant`: `*` is every chain. `seen`: a `head` of an earlier "
                       "answer, which must still be there.",
        .tag = "Audit",
        .response = "AuditReport",
        .query = {"tenant", "seen"}},
       [deps, admin](const Call& call) {
         Blocking(*deps, call, Work::kLong, [call, admin] {
           Answer(call, 200,
                  admin->VerifyAudit(call.actor(), Query(call, "tenant"), Query(call, "seen")));
         });
       }});
}

}  // namespace weft::gateway
