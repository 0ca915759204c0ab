// What operators keep in the database, described by tables of fields: tenants, projects, users,
// roles, role bindings, quotas and settings. Reading, writing, checking, the REST and gRPC APIs,
// their documentation and weftctl are all made from these tables.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/database.h"

namespace weft::store {

enum class FieldKind : uint8_t {
  kText,
  kName,  // letters, digits, '.', '_', '-'; 1 to 100
  kInteger,
  kTime,    // Unix seconds; set here, never by a client
  kObject,  // a JSON object
  kTexts,   // a JSON list of texts
  kJson,    // any JSON
  kHash,    // never shown; set by the server alone
};

enum class FieldRule : uint8_t { kMay, kMust, kAtCreation /* must, and stays */, kServer };

struct ResourceField {
  std::string_view name;  // of the column and of the member
  FieldKind kind = FieldKind::kText;
  FieldRule rule = FieldRule::kMay;
  std::string_view meaning = {};
  std::string_view choices = {};   // texts: separated by spaces; empty: any
  std::string_view fallback = {};  // as text; of kMay
  int64_t min = 0;                 // integers
  int64_t max = 256;               // integers; bytes of texts and of JSON
};

struct ResourceType {
  std::string_view name;      // "projects": the table and the path
  std::string_view singular;  // "project": goes into the audit
  std::string_view tenant_column;
  std::string_view id_column;
  bool id_is_made;  // else the client gives it, and it is unique in its tenant
  std::string_view meaning;
  std::span<const ResourceField> fields;  // beside the tenant, the id and the two times
};

std::span<const ResourceType> ResourceTypes();
// nullptr: there is none.
const ResourceType* FindResourceType(std::string_view name);

// All in the session's scope, and of one tenant: what is another's does not exist. Records hold
// "tenant" (but tenants themselves), "id", the fields, created_at and updated_at.
// INVALID_ARGUMENT carries the field (WithField); NOT_FOUND; ALREADY_EXISTS.
//
// `body` is an object; for a made id it has no "id". `server` holds fields that only the server
// sets (kServer, kHash).
absl::StatusOr<nlohmann::ordered_json> CreateResource(Session& session, const ResourceType& type,
                                                      std::string_view tenant,
                                                      const nlohmann::json& body,
                                                      const nlohmann::json& server, int64_t now);
absl::StatusOr<nlohmann::ordered_json> GetResource(Session& session, const ResourceType& type,
                                                   std::string_view tenant, std::string_view id);
// In the order of tenant and id, behind `after` ("tenant/id" or "id"); at most `limit` (1 to 1000).
// An empty tenant: all, where the scope is the system's.
absl::StatusOr<std::vector<nlohmann::ordered_json>> ListResources(Session& session,
                                                                  const ResourceType& type,
                                                                  std::string_view tenant,
                                                                  std::string_view after,
                                                                  size_t limit);
// Only the members that are there change.
absl::StatusOr<nlohmann::ordered_json> UpdateResource(Session& session, const ResourceType& type,
                                                      std::string_view tenant, std::string_view id,
                                                      const nlohmann::json& patch,
                                                      const nlohmann::json& server, int64_t now);
// With what hangs on it: a user's keys are revoked and their bindings go. Tenants cannot be removed
// (FAILED_PRECONDITION): they are erased.
absl::Status RemoveResource(Session& session, const ResourceType& type, std::string_view tenant,
                            std::string_view id, int64_t now);

bool IsResourceName(std::string_view text);

}  // namespace weft::store
