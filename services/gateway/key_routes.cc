#include "services/gateway/key_routes.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"

namespace weft::gateway {
namespace {

using identity::Permission;
using nlohmann::ordered_json;
using DepsPtr = std::shared_ptr<const ApiDeps>;

// A list as the store keeps it.
ordered_json List(const std::string& text) {
  ordered_json list = ordered_json::parse(text, nullptr, false);
  return list.is_array() ? list : ordered_json::array();
}

ordered_json ToJson(const store::KeyRecord& key) {
  ordered_json out;
  out["object"] = "api_key";
  out["id"] = key.id;
  out["name"] = key.name;
  out["tenant"] = key.tenant;
  out["role"] = key.role;
  out["requests_per_minute"] = key.requests_per_minute;
  out["max_priority"] = key.max_priority.empty() ? ordered_json() : ordered_json(key.max_priority);
  out["project"] = key.project.empty() ? ordered_json() : ordered_json(key.project);
  out["scopes"] = List(key.scopes);
  out["allowed_ips"] = List(key.allowed_ips);
  out["allowed_models"] = List(key.allowed_models);
  out["replaces"] = key.replaces.empty() ? ordered_json() : ordered_json(key.replaces);
  out["created_at"] = key.created_at;
  out["expires_at"] = key.expires_at;
  out["last_used_at"] = key.last_used_at;
  out["revoked"] = key.revoked_at != 0;
  return out;
}

std::string Dump(const ordered_json& body) {
  return body.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// Writes reach the disk before they are answered: not on an I/O thread.
void Blocking(const DepsPtr& deps, const Call& call, std::function<void()> work) {
  if (deps->blocking->TrySubmit(std::move(work))) return;
  call.Fail(WithRetryAfter(ResourceExhausted("Too many administrative requests."),
                           std::chrono::seconds(1)));
}

absl::StatusOr<identity::NewKey> ParseNewKey(const nlohmann::json& body) {
  if (!body.is_object()) return InvalidArgument("The request body must be a JSON object.");
  ParamReader r(body, "");
  v1::CreateKeyRequest request;
  request.set_name(r.RequiredText("name", 100));
  request.set_tenant(r.Text("tenant", "", 100));
  request.set_role(r.Text("role", "", 32));
  request.set_requests_per_minute(
      static_cast<uint32_t>(r.Integer("requests_per_minute", 0, 1, 1'000'000)));
  request.set_max_priority(r.Text("max_priority", "", 16));
  request.set_expires_at_unix(r.Integer("expires_at", 0, 0, INT64_C(253402300799)));
  request.set_project(r.Text("project", "", 100));
  const auto texts = [&](const char* name, auto* out) {
    for (std::string& text : r.Texts(name, 256, 256)) out->Add(std::move(text));
  };
  texts("scopes", request.mutable_scopes());
  texts("allowed_ips", request.mutable_allowed_ips());
  texts("allowed_models", request.mutable_allowed_models());
  WEFT_RETURN_IF_ERROR(r.Finish());
  return ToNewKey(request);
}

// The one answer that holds a key's secrets.
void SendSecret(const Call& call, const identity::CreatedKey& created) {
  ordered_json out = ToJson(created.record);
  out["secret"] = created.text;
  if (!created.signing_secret.empty()) out["signing_secret"] = created.signing_secret;
  http::Response response = http::Response::Json(201, Dump(out));
  response.headers.Add("Cache-Control", "no-store");
  call.Send(std::move(response));
}

void CreateKey(const DepsPtr& deps, const Call& call) {
  auto body = ParseStrictJson(call.request().body);
  if (!body.ok()) return call.Fail(body.status());
  auto key = ParseNewKey(*body);
  if (!key.ok()) return call.Fail(key.status());
  Blocking(deps, call, [deps, call, key = std::move(*key)] {
    auto created = deps->keys->Create(call.actor(), key);
    if (!created.ok()) return call.Fail(created.status());
    SendSecret(call, *created);
  });
}

void RotateKey(const DepsPtr& deps, const Call& call) {
  std::chrono::seconds overlap = kDefaultOverlap;
  if (!call.request().body.empty()) {
    auto body = ParseStrictJson(call.request().body);
    if (!body.ok()) return call.Fail(body.status());
    if (!body->is_object()) {
      return call.Fail(InvalidArgument("The request body must be a JSON object."));
    }
    ParamReader r(*body, "");
    overlap = std::chrono::seconds(
        r.Integer("overlap_seconds", kDefaultOverlap.count(), 0, kLongestOverlap.count()));
    if (absl::Status status = r.Finish(); !status.ok()) return call.Fail(status);
  }
  Blocking(deps, call, [deps, call, overlap] {
    auto created =
        deps->keys->Rotate(call.actor(), std::string(call.request().Param("id")), overlap);
    if (!created.ok()) return call.Fail(created.status());
    SendSecret(call, *created);
  });
}

void ListKeys(const DepsPtr& deps, const Call& call) {
  Blocking(deps, call, [deps, call] {
    const auto keys =
        deps->keys->List(call.actor(), call.request().QueryParam("tenant").value_or(""));
    if (!keys.ok()) return call.Fail(keys.status());
    ordered_json data = ordered_json::array();
    for (const store::KeyRecord& key : *keys) data.push_back(ToJson(key));
    call.SendJson(200, Dump({{"object", "list"}, {"data", std::move(data)}}));
  });
}

void RevokeKey(const DepsPtr& deps, const Call& call) {
  Blocking(deps, call, [deps, call] {
    const std::string id(call.request().Param("id"));
    if (absl::Status status = deps->keys->Revoke(call.actor(), id); !status.ok()) {
      return call.Fail(status);
    }
    ordered_json out;
    out["object"] = "api_key";
    out["id"] = id;
    out["revoked"] = true;
    call.SendJson(200, Dump(out));
  });
}

}  // namespace

v1::ApiKey ToProto(const store::KeyRecord& record) {
  v1::ApiKey out;
  out.set_id(record.id);
  out.set_name(record.name);
  out.set_tenant(record.tenant);
  out.set_role(record.role);
  out.set_requests_per_minute(record.requests_per_minute);
  out.set_max_priority(record.max_priority);
  out.set_created_at_unix(record.created_at);
  out.set_expires_at_unix(record.expires_at);
  out.set_last_used_at_unix(record.last_used_at);
  out.set_revoked(record.revoked_at != 0);
  out.set_project(record.project);
  out.set_environment(record.environment);
  out.set_replaces(record.replaces);
  const auto copy = [](const std::string& list, auto* to) {
    for (const auto& text : List(list)) to->Add(text.template get<std::string>());
  };
  copy(record.scopes, out.mutable_scopes());
  copy(record.allowed_ips, out.mutable_allowed_ips());
  copy(record.allowed_models, out.mutable_allowed_models());
  return out;
}

absl::StatusOr<identity::NewKey> ToNewKey(const v1::CreateKeyRequest& request) {
  identity::NewKey key;
  key.name = request.name();
  key.tenant = request.tenant();
  if (!request.role().empty()) key.role = request.role();
  key.requests_per_minute = request.requests_per_minute();
  key.max_priority = request.max_priority();
  key.expires_at = request.expires_at_unix();
  key.project = request.project();
  key.scopes.assign(request.scopes().begin(), request.scopes().end());
  key.addresses.assign(request.allowed_ips().begin(), request.allowed_ips().end());
  key.models.assign(request.allowed_models().begin(), request.allowed_models().end());
  return key;
}

absl::Status AddKeyRoutes(const DepsPtr& deps, EndpointTable& table) {
  WEFT_RETURN_IF_ERROR(table.Add({"POST",
                                  "/v1/keys",
                                  Permission::kKeysWrite,
                                  true,
                                  {.operation_id = "createKey",
                                   .summary = "Makes an API key; the secret is shown this once",
                                   .tag = "Administration",
                                   .request = "CreateKeyRequest",
                                   .response = "CreatedKey",
                                   .status = 201},
                                  [deps](const Call& call) { CreateKey(deps, call); }}));
  WEFT_RETURN_IF_ERROR(table.Add({"GET",
                                  "/v1/keys",
                                  Permission::kKeysRead,
                                  true,
                                  {.operation_id = "listKeys",
                                   .summary = "Lists API keys without their secrets",
                                   .description = "The query parameter `tenant` narrows the list.",
                                   .tag = "Administration",
                                   .response = "KeyList",
                                   .query = {"tenant"}},
                                  [deps](const Call& call) { ListKeys(deps, call); }}));
  WEFT_RETURN_IF_ERROR(
      table.Add({"POST",
                 "/v1/keys/{id}/rotate",
                 Permission::kKeysWrite,
                 true,
                 {.operation_id = "rotateKey",
                  .summary = "Makes a key's successor; both are good for a while",
                  .description = "The old key ends after `overlap_seconds`, if not sooner.",
                  .tag = "Administration",
                  .request = "RotateKeyRequest",
                  .response = "CreatedKey",
                  .status = 201,
                  .optional_body = true},
                 [deps](const Call& call) { RotateKey(deps, call); }}));
  return table.Add({"DELETE",
                    "/v1/keys/{id}",
                    Permission::kKeysWrite,
                    true,
                    {.operation_id = "revokeKey",
                     .summary = "Revokes an API key, in force within a second",
                     .tag = "Administration",
                     .response = "RevokedKey"},
                    [deps](const Call& call) { RevokeKey(deps, call); }});
}

}  // namespace weft::gateway
