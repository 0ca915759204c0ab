#include "services/gateway/data_routes.h"

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "services/gateway/admin_call.h"
#include "services/gateway/param_reader.h"

namespace weft::gateway {
namespace {

using DepsPtr = std::shared_ptr<const ApiDeps>;
using identity::Permission;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxExportBytes = size_t{256} << 20;  // of one answer, in memory

// The owner that a path names: a tenant, or a user of `?tenant=`.
store::DataOwner OwnerOf(const Call& call, bool user) {
  const std::string id(call.request().Param("id"));
  if (!user) return {id};
  return {Query(call, "tenant"), id};
}

void Export(const DepsPtr& deps, const Call& call, bool user) {
  Blocking(*deps, call, Work::kLong, [deps, call, user] {
    http::Response response;
    const absl::Status status = deps->data->Export(
        call.actor(), OwnerOf(call, user), [&](std::string_view line) -> absl::Status {
          if (response.body.size() + line.size() > kMaxExportBytes) {
            return ResourceExhausted("The export has more than {} MiB: prune first.",
                                     kMaxExportBytes >> 20);
          }
          response.body.append(line).push_back('\n');
          return absl::OkStatus();
        });
    if (!status.ok()) return call.Fail(status);
    response.headers.Add("Content-Type", "application/x-ndjson");
    response.headers.Add("Cache-Control", "no-store");
    call.Send(std::move(response));
  });
}

void Erase(const DepsPtr& deps, const Call& call, bool user) {
  Blocking(*deps, call, Work::kLong, [deps, call, user] {
    const auto erased = deps->data->Erase(call.actor(), OwnerOf(call, user));
    if (!erased.ok()) return call.Fail(erased.status());
    Answer(call, 200,
           ordered_json{
               {"object", "erasure"}, {"rows", erased->rows}, {"audit_rows", erased->audit_rows}});
  });
}

void RotateKeys(const DepsPtr& deps, const Call& call) {
  Blocking(*deps, call, Work::kLong, [deps, call] {
    const auto done = deps->data->RotateKeys(call.actor(), Query(call, "tenant"),
                                             Query(call, "data_keys") == "true");
    if (!done.ok()) return call.Fail(done.status());
    Answer(call, 200,
           ordered_json{
               {"object", "rotation"}, {"data_keys", done->data_keys}, {"texts", done->texts}});
  });
}

absl::StatusOr<ordered_json> Prune(DataAdmin& data, const Call& call, const json& body) {
  if (!body.is_object()) return InvalidArgument("The request body must be a JSON object.");
  ParamReader r(body, "");
  const int64_t usage = r.Integer("usage_days", 0, 0, 36'500);
  const int64_t audit = r.Integer("audit_days", 0, 0, 36'500);
  WEFT_RETURN_IF_ERROR(r.Finish());
  WEFT_ASSIGN_OR_RETURN(const Pruned pruned,
                        data.Prune(call.actor(), Query(call, "tenant"), usage, audit));
  return ordered_json{
      {"object", "pruning"}, {"usage_rows", pruned.usage}, {"audit_rows", pruned.audit}};
}

}  // namespace

absl::Status AddDataRoutes(const DepsPtr& deps, EndpointTable& table) {
  for (const bool user : {false, true}) {
    const std::string path = user ? "/v1/admin/users/{id}" : "/v1/admin/tenants/{id}";
    const std::string name = user ? "User" : "Tenant";
    const std::vector<std::string> query =
        user ? std::vector<std::string>{"tenant"} : std::vector<std::string>{};
    WEFT_RETURN_IF_ERROR(
        table.Add({"GET",
                   path + "/export",
                   Permission::kDataExport,
                   true,
                   {.operation_id = "export" + name,
                    .summary = "All that is stored of one, a JSON object a line",
                    .description = "Records, keys without their hashes, usage and audit; `type` "
                                   "says which.",
                    .tag = "Data",
                    .response = "application/x-ndjson",
                    .query = query},
                   [deps, user](const Call& call) { Export(deps, call, user); }}));
    WEFT_RETURN_IF_ERROR(table.Add(
        {"POST",
         path + "/erase",
         Permission::kDataErase,
         true,
         {.operation_id = "erase" + name,
          .summary = "Takes all that is stored of one away, for ever",
          .description = "Sums of usage stay without who; the audit's rows stay without what is "
                         "personal in them, and say so.",
          .tag = "Data",
          .response = "Erasure",
          .query = query},
         [deps, user](const Call& call) { Erase(deps, call, user); }}));
  }
  WEFT_RETURN_IF_ERROR(
      table.Add({"POST",
                 "/v1/admin/encryption/rotate",
                 Permission::kSettingsWrite,
                 true,
                 {.operation_id = "rotateEncryptionKeys",
                  .summary = "Wraps data keys under the current master key",
                  .description = "With `data_keys=true` there are new data keys too, and every "
                                 "sealed text is sealed anew. `tenant`: `*` is all.",
                  .tag = "Data",
                  .response = "Rotation",
                  .query = {"tenant", "data_keys"}},
                 [deps](const Call& call) { RotateKeys(deps, call); }}));
  return table.Add({"POST",
                    "/v1/admin/prune",
                    Permission::kDataErase,
                    true,
                    {.operation_id = "pruneData",
                     .summary = "Removes old rows of usage and audit",
                     .description = "Daily sums stay; the audit's chain goes on and says where it "
                                    "was cut.",
                     .tag = "Data",
                     .request = "PruneRequest",
                     .response = "Pruning",
                     .query = {"tenant"}},
                    [deps](const Call& call) {
                      WithBody(*deps, call, Work::kLong, 200, [deps, call](const json& body) {
                        return Prune(*deps->data, call, body);
                      });
                    }});
}

void AddDataSchemas(ordered_json& schemas) {
  const auto answer = [](std::string_view object, std::vector<std::string> counts) {
    ordered_json out = {{"type", "object"}};
    out["required"] = counts;
    out["properties"]["object"] = {{"const", object}};
    for (const std::string& count : counts) out["properties"][count] = {{"type", "integer"}};
    return out;
  };
  schemas["Erasure"] = answer("erasure", {"rows", "audit_rows"});
  schemas["Rotation"] = answer("rotation", {"data_keys", "texts"});
  schemas["Pruning"] = answer("pruning", {"usage_rows", "audit_rows"});
  const ordered_json days = {{"type", {"integer", "null"}},
                             {"minimum", 0},
                             {"maximum", 36'500},
                             {"description", "rows older than so many days go; 0 keeps them"}};
  schemas["PruneRequest"] = {{"type", "object"},
                             {"additionalProperties", false},
                             {"properties", {{"usage_days", days}, {"audit_days", days}}}};
}

absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::EraseDataRequest& in,
                    v1::EraseDataResponse& out) {
  WEFT_ASSIGN_OR_RETURN(const store::Erased erased,
                        admin.Erase(actor, {in.tenant(), in.user_id()}));
  out.set_rows(erased.rows);
  out.set_audit_rows(erased.audit_rows);
  return absl::OkStatus();
}

absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::RotateKeysRequest& in,
                    v1::RotateKeysResponse& out) {
  WEFT_ASSIGN_OR_RETURN(const DataAdmin::Rotated done,
                        admin.RotateKeys(actor, in.tenant(), in.data_keys()));
  out.set_data_keys(done.data_keys);
  out.set_texts(done.texts);
  return absl::OkStatus();
}

absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::PruneDataRequest& in,
                    v1::PruneDataResponse& out) {
  WEFT_ASSIGN_OR_RETURN(const Pruned pruned,
                        admin.Prune(actor, in.tenant(), in.usage_days(), in.audit_days()));
  out.set_usage_rows(pruned.usage);
  out.set_audit_rows(pruned.audit);
  return absl::OkStatus();
}

absl::Status Handle(DataAdmin& admin, const Actor& actor, const v1::ExportDataRequest& in,
                    v1::ExportDataResponse& out) {
  size_t bytes = 0;
  return admin.Export(actor, {in.tenant(), in.user_id()},
                      [&](std::string_view line) -> absl::Status {
                        bytes += line.size();
                        if (bytes > kMaxExportBytes) {
                          return ResourceExhausted("The export has more than {} MiB: prune first.",
                                                   kMaxExportBytes >> 20);
                        }
                        out.add_lines(std::string(line));
                        return absl::OkStatus();
                      });
}

}  // namespace weft::gateway
