#include "services/gateway/resource_routes.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"

namespace weft::gateway {
namespace {

using DepsPtr = std::shared_ptr<const ApiDeps>;
using identity::Permission;
using nlohmann::json;
using nlohmann::ordered_json;
using store::ResourceType;

std::string Dump(const ordered_json& body) {
  return body.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// The database is waited for: not on an I/O thread.
void Blocking(const DepsPtr& deps, const Call& call, std::function<void()> work) {
  if (deps->blocking->TrySubmit(std::move(work))) return;
  call.Fail(WithRetryAfter(ResourceExhausted("Too many administrative requests."),
                           std::chrono::seconds(1)));
}

std::string Query(const Call& call, std::string_view name) {
  return call.request().QueryParam(name).value_or("");
}

// A number of the query; INVALID_ARGUMENT names it.
absl::StatusOr<int64_t> QueryNumber(const Call& call, std::string_view name, int64_t fallback,
                                    int64_t min, int64_t max) {
  const std::string text = Query(call, name);
  if (text.empty()) return fallback;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    return WithField(InvalidArgument("{}: must be an integer, {} to {}", name, min, max), name);
  }
  return value;
}

void Answer(const Call& call, int status, const absl::StatusOr<ordered_json>& body) {
  if (!body.ok()) return call.Fail(body.status());
  call.SendJson(status, Dump(*body));
}

// "role_bindings" gives "RoleBinding": the name of its schema, and part of operations' ids.
std::string Title(std::string_view snake) {
  std::string out;
  bool upper = true;
  for (const char c : snake) {
    if (c == '_') {
      upper = true;
      continue;
    }
    out.push_back(upper ? static_cast<char>(c - 'a' + 'A') : c);
    upper = false;
  }
  return out;
}

void WithBody(const DepsPtr& deps, const Call& call,
              const std::function<absl::StatusOr<ordered_json>(json body)>& work, int status) {
  auto body = ParseStrictJson(call.request().body);
  if (!body.ok()) return call.Fail(body.status());
  Blocking(deps, call,
           [call, work, status, body = *std::move(body)] { Answer(call, status, work(body)); });
}

absl::Status AddType(const DepsPtr& deps, EndpointTable& table, const ResourceType& type) {
  const std::string path = fmt::format("/v1/admin/{}", type.name);
  const std::string title = Title(type.singular);
  const std::string plural = Title(type.name);
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
         Blocking(deps, call, [call, admin, &type, limit = *limit] {
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
         WithBody(
             deps, call,
             [call, admin, &type](json body) {
               return admin->Create(call.actor(), type, Query(call, "tenant"), std::move(body));
             },
             201);
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
                                    Blocking(deps, call, [call, admin, &type] {
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
                   WithBody(
                       deps, call,
                       [call, admin, &type](json body) {
                         return admin->Update(call.actor(), type, Query(call, "tenant"),
                                              call.request().Param("id"), std::move(body));
                       },
                       200);
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
         Blocking(deps, call, [call, admin, &type] {
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

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    if (comma != 0) out.emplace_back(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return out;
}

ordered_json SchemaOf(const store::ResourceField& field) {
  using store::FieldKind;
  ordered_json out;
  switch (field.kind) {
    case FieldKind::kInteger:
      out = {{"type", "integer"}, {"minimum", field.min}};
      if (field.max < (int64_t{1} << 53)) out["maximum"] = field.max;
      break;
    case FieldKind::kTime:
      out = {{"type", "integer"}};
      break;
    case FieldKind::kObject:
      out = {{"type", "object"}};
      break;
    case FieldKind::kTexts:
      out = {{"type", "array"}, {"items", {{"type", "string"}, {"minLength", 1}}}};
      break;
    case FieldKind::kJson:
      out = ordered_json::object();
      break;
    case FieldKind::kName:
      out = {{"type", "string"}, {"pattern", "^[A-Za-z0-9._-]{1,100}$"}};
      break;
    default:
      out = {{"type", "string"}, {"maxLength", field.max}};
  }
  if (!field.choices.empty()) {
    out["enum"] = Words([&] {
      std::string commas(field.choices);
      std::replace(commas.begin(), commas.end(), ' ', ',');
      return commas;
    }());
  }
  if (!field.meaning.empty()) out["description"] = field.meaning;
  return out;
}

}  // namespace

void AddResourceSchemas(ordered_json& schemas) {
  using store::FieldKind;
  using store::FieldRule;
  const ordered_json name = {{"type", "string"}, {"pattern", "^[A-Za-z0-9._-]{1,100}$"}};
  for (const ResourceType& type : store::ResourceTypes()) {
    const std::string title = Title(type.singular);
    ordered_json shown = {{"object", {{"const", type.singular}}}, {"id", {{"type", "string"}}}};
    ordered_json create = ordered_json::object();
    ordered_json update = ordered_json::object();
    ordered_json required = ordered_json::array();
    if (!type.id_is_made) {
      create["id"] = name;
      required.push_back("id");
    }
    if (type.name != "tenants") shown["tenant"] = {{"type", "string"}};
    for (const store::ResourceField& field : type.fields) {
      const std::string member(field.name);
      if (field.kind == FieldKind::kHash) continue;
      shown[member] = SchemaOf(field);
      if (field.rule == FieldRule::kServer) continue;
      create[member] = SchemaOf(field);
      if (field.rule != FieldRule::kMay) required.push_back(member);
      if (field.rule != FieldRule::kAtCreation) update[member] = SchemaOf(field);
    }
    if (type.name == "users") {
      const ordered_json password = {{"type", "string"},
                                     {"minLength", 8},
                                     {"maxLength", 1024},
                                     {"writeOnly", true},
                                     {"description", "never shown again"}};
      create["password"] = password;
      update["password"] = password;
    }
    shown["created_at"] = {{"type", "integer"}};
    shown["updated_at"] = {{"type", "integer"}};
    schemas[title] = {{"type", "object"},
                      {"description", type.meaning},
                      {"required", {"object", "id", "created_at", "updated_at"}},
                      {"properties", std::move(shown)}};
    schemas[title + "List"] = {
        {"type", "object"},
        {"required", {"object", "data", "has_more"}},
        {"properties",
         {{"object", {{"const", "list"}}},
          {"data", {{"type", "array"}, {"items", {{"$ref", "#/components/schemas/" + title}}}}},
          {"has_more", {{"type", "boolean"}}}}}};
    schemas["Create" + title] = {{"type", "object"},
                                 {"additionalProperties", false},
                                 {"required", std::move(required)},
                                 {"properties", std::move(create)}};
    schemas["Update" + title] = {
        {"type", "object"}, {"additionalProperties", false}, {"properties", std::move(update)}};
  }
  schemas["Deleted"] = ordered_json::parse(R"({"type":"object","required":["object","id","deleted"],
    "properties":{"object":{"type":"string"},"id":{"type":"string"},"deleted":{"const":true}}})");
  schemas["UsageList"] =
      ordered_json::parse(R"({"type":"object","required":["object","data"],"properties":{
    "object":{"const":"list"},"has_more":{"type":"boolean"},"data":{"type":"array","items":{"type":"object",
    "description":"the members of group_by, and these sums","properties":{"requests":{"type":"integer"},
    "prompt_tokens":{"type":"integer"},"cached_prompt_tokens":{"type":"integer"},"completion_tokens":{"type":"integer"},
    "total_tokens":{"type":"integer"},"cost_micros":{"type":"integer","description":"millionths of the currency"}}}}}})");
  schemas["AuditList"] =
      ordered_json::parse(R"({"type":"object","required":["object","data","has_more"],"properties":{
    "object":{"const":"list"},"has_more":{"type":"boolean"},"data":{"type":"array","items":{"type":"object",
    "required":["seq","id","action","hash"],"properties":{"seq":{"type":"integer"},"created_at_us":{"type":"integer"},
    "tenant_id":{"type":"string"},"id":{"type":"string"},"user_id":{"type":"string"},"key_id":{"type":"string"},
    "auth_method":{"type":"string"},"action":{"type":"string"},"resource_type":{"type":"string"},"resource_id":{"type":"string"},
    "outcome":{"type":"string"},"request_id":{"type":"string"},"details":{"type":"string","description":"a JSON object, as it was hashed"},
    "ip_address":{"type":"string"},"user_agent":{"type":"string"},"salt":{"type":"string"},"personal_hash":{"type":"string"},
    "hash":{"type":"string"},"erased":{"type":"boolean"}}}}}})");
  schemas["AuditReport"] =
      ordered_json::parse(R"({"type":"object","required":["object","data","verified"],"properties":{
    "object":{"const":"list"},"verified":{"type":"boolean"},"has_more":{"type":"boolean"},"data":{"type":"array","items":{"type":"object",
    "required":["tenant","verified","rows","head","faults"],"properties":{"tenant":{"type":"string"},"verified":{"type":"boolean"},
    "rows":{"type":"integer"},"erased":{"type":"integer"},"head":{"type":"string","description":"number and hash of the last row: write it down, and pass it as `seen` later"},
    "faults":{"type":"array","items":{"type":"string"}}}}}}})");
}

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
         filter.group_by = Words(Query(call, "group_by"));
         filter.project = Query(call, "project");
         filter.user_id = Query(call, "user");
         filter.key_id = Query(call, "key");
         filter.model = Query(call, "model");
         Blocking(deps, call, [call, admin, filter] {
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
         Blocking(deps, call, [call, admin, filter = *std::move(filter)] {
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
         Blocking(deps, call, [call, admin] {
           Answer(call, 200,
                  admin->VerifyAudit(call.actor(), Query(call, "tenant"), Query(call, "seen")));
         });
       }});
}

}  // namespace weft::gateway
