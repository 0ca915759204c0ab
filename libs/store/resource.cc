#include "libs/store/resource.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "libs/base/error_info.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/store/text.h"

namespace weft::store {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

bool IsTenants(const ResourceType& type) { return type.tenant_column == type.id_column; }
bool IsJson(FieldKind kind) {
  return kind == FieldKind::kObject || kind == FieldKind::kTexts || kind == FieldKind::kJson;
}
bool IsNumber(FieldKind kind) { return kind == FieldKind::kInteger || kind == FieldKind::kTime; }

absl::Status Wrong(std::string_view field, std::string_view what) {
  return WithField(InvalidArgument("{}: {}", field, what), field);
}

bool IsChoice(std::string_view choices, std::string_view text) {
  while (!choices.empty()) {
    const size_t space = choices.find(' ');
    if (choices.substr(0, space) == text) return true;
    choices.remove_prefix(space == std::string_view::npos ? choices.size() : space + 1);
  }
  return false;
}

absl::StatusOr<Value> ReadText(const ResourceField& field, const json& value) {
  if (!value.is_string()) return Wrong(field.name, "must be a text");
  const auto& text = value.get_ref<const std::string&>();
  const auto most = static_cast<size_t>(field.max);
  if (field.kind == FieldKind::kName && !IsResourceName(text)) {
    return Wrong(field.name, "must be 1 to 100 letters, digits, '.', '_' or '-'");
  }
  if (text.size() > most) return Wrong(field.name, fmt::format("must have at most {} bytes", most));
  if (text.empty() && field.rule != FieldRule::kMay) return Wrong(field.name, "must not be empty");
  if (std::any_of(text.begin(), text.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
    return Wrong(field.name, "must not hold control characters");
  }
  if (!field.choices.empty() && !IsChoice(field.choices, text)) {
    return Wrong(field.name, fmt::format("must be one of: {}", field.choices));
  }
  return Value(text);
}

// A member of a body as the column keeps it. INVALID_ARGUMENT names the field.
absl::StatusOr<Value> ReadField(const ResourceField& field, const json& value) {
  if (IsNumber(field.kind)) {
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))) {
      return Wrong(field.name, "must be an integer");
    }
    const auto number = value.get<int64_t>();
    if (field.kind == FieldKind::kInteger && (number < field.min || number > field.max)) {
      return Wrong(field.name, fmt::format("must be {} to {}", field.min, field.max));
    }
    return Value(number);
  }
  if (!IsJson(field.kind)) return ReadText(field, value);
  if (field.kind == FieldKind::kObject && !value.is_object()) {
    return Wrong(field.name, "must be an object");
  }
  if (field.kind == FieldKind::kTexts) {
    const bool texts =
        value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) {
          return v.is_string() && !v.get_ref<const std::string&>().empty();
        });
    if (!texts) return Wrong(field.name, "must be a list of texts");
  }
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > static_cast<size_t>(field.max)) {
    return Wrong(field.name, fmt::format("must have at most {} bytes", field.max));
  }
  return Value(std::move(text));
}

Value Fallback(const ResourceField& field) {
  if (!IsNumber(field.kind)) return {field.fallback};
  int64_t number = 0;
  for (const char c : field.fallback) number = number * 10 + (c - '0');
  return {number};
}

const ResourceField* FieldOf(const ResourceType& type, std::string_view name) {
  for (const ResourceField& field : type.fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

// Every member is a field that a client may set; `update`: now and not only at creation.
absl::Status CheckMembers(const ResourceType& type, const json& body, bool update) {
  if (!body.is_object()) return InvalidArgument("the request body must be a JSON object");
  for (const auto& [name, value] : body.items()) {
    if (!update && name == "id" && !type.id_is_made) continue;
    const ResourceField* field = FieldOf(type, name);
    if (field == nullptr || field->rule == FieldRule::kServer) {
      return Wrong(name.substr(0, 64), "is not a field that can be set");
    }
    if (update && field->rule == FieldRule::kAtCreation) {
      return Wrong(name, "cannot be changed");
    }
  }
  return absl::OkStatus();
}

std::string Columns(const ResourceType& type) {
  std::string out = fmt::format("{}, {}", type.tenant_column, type.id_column);
  for (const ResourceField& field : type.fields) out += fmt::format(", {}", field.name);
  return out + ", created_at, updated_at";
}

ordered_json ReadRow(const ResourceType& type, const Row& row) {
  ordered_json out;
  out["object"] = type.singular;
  out["id"] = row.Text(1);
  if (!IsTenants(type)) out["tenant"] = row.Text(0);
  size_t column = 2;
  for (const ResourceField& field : type.fields) {
    const Value& value = row[column++];
    if (field.kind == FieldKind::kHash) {
      continue;
    } else if (IsNumber(field.kind)) {
      out[std::string(field.name)] = value.Int();
    } else if (IsJson(field.kind)) {
      auto parsed = ordered_json::parse(value.Text(), nullptr, false);
      out[std::string(field.name)] = parsed.is_discarded() ? ordered_json() : std::move(parsed);
    } else {
      out[std::string(field.name)] = std::string(value.Text());
    }
  }
  out["created_at"] = row.Int(column);
  out["updated_at"] = row.Int(column + 1);
  return out;
}

absl::Status NotThere(const ResourceType& type, std::string_view id) {
  return NotFound("there is no {} '{}'", type.singular, StorableText(id, 100));
}

// The database's own words name tables; the client gets ours.
absl::Status Explained(const ResourceType& type, absl::Status status) {
  if (status.code() == absl::StatusCode::kAlreadyExists) {
    return AlreadyExists("there is such a {} already", type.singular);
  }
  if (status.code() == absl::StatusCode::kFailedPrecondition) {
    return WithField(InvalidArgument("tenant: there is no such tenant"), "tenant");
  }
  return status;
}

absl::Status NoteChanges(Session& session, const ResourceType& type) {
  if (type.name == "settings") return NoteChange(session, Topic::kSettings);
  if (type.name == "quotas") return NoteChange(session, Topic::kQuotas);
  WEFT_RETURN_IF_ERROR(NoteChange(session, Topic::kIdentity));
  return NoteChange(session, Topic::kKeys);  // caches of keys hold what roles and tenants give
}

absl::Status CheckScope(Session& session, std::string_view tenant) {
  if (session.scope().Covers(tenant)) return absl::OkStatus();
  return PermissionDenied("what belongs to another tenant");
}

}  // namespace

bool IsResourceName(std::string_view text) {
  return !text.empty() && text.size() <= 100 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

absl::StatusOr<ordered_json> CreateResource(Session& session, const ResourceType& type,
                                            std::string_view tenant, const json& body,
                                            const json& server, int64_t now) {
  WEFT_RETURN_IF_ERROR(CheckScope(session, tenant));
  WEFT_RETURN_IF_ERROR(CheckMembers(type, body, false));
  std::string id;
  if (type.id_is_made) {
    id = NewRequestId();
  } else {
    if (!body.contains("id") || !body.at("id").is_string() ||
        !IsResourceName(body.at("id").get_ref<const std::string&>())) {
      return Wrong("id", "must be 1 to 100 letters, digits, '.', '_' or '-'");
    }
    id = body.at("id").get<std::string>();
  }
  std::string columns(type.id_column);
  std::string places = "$1";
  Values values = {id};
  const auto add = [&](std::string_view column, Value value) {
    values.push_back(std::move(value));
    columns += fmt::format(", {}", column);
    places += fmt::format(", ${}", values.size());
  };
  if (!IsTenants(type)) add(type.tenant_column, tenant);
  for (const ResourceField& field : type.fields) {
    const std::string name(field.name);
    const json& from = field.rule == FieldRule::kServer ? server : body;
    if (from.is_object() && from.contains(name) && !from.at(name).is_null()) {
      WEFT_ASSIGN_OR_RETURN(Value value, ReadField(field, from.at(name)));
      add(field.name, std::move(value));
    } else if (field.rule == FieldRule::kMust || field.rule == FieldRule::kAtCreation) {
      return Wrong(field.name, "is missing");
    } else {
      add(field.name, Fallback(field));
    }
  }
  add("created_at", now);
  add("updated_at", now);
  WEFT_RETURN_IF_ERROR(Explained(
      type,
      session
          .Run(fmt::format("INSERT INTO {} ({}) VALUES ({})", type.name, columns, places), values)
          .status()));
  WEFT_RETURN_IF_ERROR(NoteChanges(session, type));
  return GetResource(session, type, IsTenants(type) ? std::string_view(id) : tenant, id);
}

absl::StatusOr<ordered_json> GetResource(Session& session, const ResourceType& type,
                                         std::string_view tenant, std::string_view id) {
  WEFT_RETURN_IF_ERROR(CheckScope(session, tenant));
  if (!IsStorableText(id)) return NotThere(type, id);
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run(fmt::format("SELECT {} FROM {} WHERE {} = $1 AND {} = $2", Columns(type),
                              type.name, type.tenant_column, type.id_column),
                  {tenant, id}));
  if (found.rows.empty()) return NotThere(type, id);
  return ReadRow(type, found.rows[0]);
}

absl::StatusOr<std::vector<ordered_json>> ListResources(Session& session, const ResourceType& type,
                                                        std::string_view tenant,
                                                        std::string_view after, size_t limit) {
  if (!tenant.empty() || !session.scope().system()) {
    WEFT_RETURN_IF_ERROR(CheckScope(session, tenant));
  }
  if (!IsStorableText(after)) return Wrong("after", "must be an id of the page before");
  const size_t slash = after.find('/');
  const std::string_view after_tenant =
      slash == std::string_view::npos ? tenant : after.substr(0, slash);
  const std::string_view after_id =
      slash == std::string_view::npos ? after : after.substr(slash + 1);
  const std::string where =
      tenant.empty()
          ? fmt::format("({0} > $2 OR ({0} = $2 AND {1} > $3))", type.tenant_column, type.id_column)
          : fmt::format("{} = $1 AND {} > $3", type.tenant_column, type.id_column);
  WEFT_ASSIGN_OR_RETURN(
      const Result found,
      session.Run(fmt::format("SELECT {} FROM {} WHERE {} ORDER BY {}, {} LIMIT $4", Columns(type),
                              type.name, where, type.tenant_column, type.id_column),
                  {tenant, after_tenant, after_id,
                   static_cast<int64_t>(std::clamp<size_t>(limit, 1, 1000))}));
  std::vector<ordered_json> records;
  for (const Row& row : found.rows) records.push_back(ReadRow(type, row));
  return records;
}

absl::StatusOr<ordered_json> UpdateResource(Session& session, const ResourceType& type,
                                            std::string_view tenant, std::string_view id,
                                            const json& patch, const json& server, int64_t now) {
  WEFT_RETURN_IF_ERROR(CheckScope(session, tenant));
  WEFT_RETURN_IF_ERROR(CheckMembers(type, patch, true));
  if (!IsStorableText(id)) return NotThere(type, id);
  std::string set = "updated_at = $3";
  Values values = {tenant, id, now};
  for (const ResourceField& field : type.fields) {
    const std::string name(field.name);
    const json& from = field.rule == FieldRule::kServer ? server : patch;
    if (!from.is_object() || !from.contains(name)) continue;
    if (from.at(name).is_null()) {
      values.push_back(Fallback(field));
    } else {
      WEFT_ASSIGN_OR_RETURN(Value value, ReadField(field, from.at(name)));
      values.push_back(std::move(value));
    }
    set += fmt::format(", {} = ${}", name, values.size());
  }
  auto done = session.Run(fmt::format("UPDATE {} SET {} WHERE {} = $1 AND {} = $2", type.name, set,
                                      type.tenant_column, type.id_column),
                          values);
  if (!done.ok()) return Explained(type, done.status());
  if (done->changed == 0) return NotThere(type, id);
  WEFT_RETURN_IF_ERROR(NoteChanges(session, type));
  return GetResource(session, type, tenant, id);
}

absl::Status RemoveResource(Session& session, const ResourceType& type, std::string_view tenant,
                            std::string_view id, int64_t now) {
  WEFT_RETURN_IF_ERROR(CheckScope(session, tenant));
  if (IsTenants(type)) {
    return FailedPrecondition("a tenant cannot be removed; it can be suspended or erased");
  }
  if (!IsStorableText(id)) return NotThere(type, id);
  if (type.name == "users") {
    WEFT_RETURN_IF_ERROR(
        session
            .Run("UPDATE api_keys SET revoked_at = $3 WHERE tenant = $1 AND revoked_at = 0 AND "
                 "user_id = $2",
                 {tenant, id, now})
            .status());
    WEFT_RETURN_IF_ERROR(
        session
            .Run("DELETE FROM role_bindings WHERE tenant = $1 AND subject_kind = 'user' AND "
                 "subject_id IN (SELECT username FROM users WHERE tenant = $1 AND id = $2)",
                 {tenant, id})
            .status());
  }
  WEFT_ASSIGN_OR_RETURN(const Result done,
                        session.Run(fmt::format("DELETE FROM {} WHERE {} = $1 AND {} = $2",
                                                type.name, type.tenant_column, type.id_column),
                                    {tenant, id}));
  if (done.changed == 0) return NotThere(type, id);
  return NoteChanges(session, type);
}

}  // namespace weft::store
