#include "services/gateway/resource_schemas.h"

#include <nlohmann/json.hpp>

#include "libs/store/resource.h"

namespace weft::gateway {
namespace {

using nlohmann::ordered_json;
using store::ResourceType;

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
    out["enum"] = SplitWords(field.choices, ' ');
  }
  if (!field.meaning.empty()) out["description"] = field.meaning;
  return out;
}

}  // namespace

std::string SchemaTitle(std::string_view snake) {
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

std::vector<std::string> SplitWords(std::string_view text, char separator) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    if (end != 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

void AddResourceSchemas(ordered_json& schemas) {
  using store::FieldKind;
  using store::FieldRule;
  const ordered_json name = {{"type", "string"}, {"pattern", "^[A-Za-z0-9._-]{1,100}$"}};
  for (const ResourceType& type : store::ResourceTypes()) {
    const std::string title = SchemaTitle(type.singular);
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

}  // namespace weft::gateway
