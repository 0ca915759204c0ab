#include <nlohmann/json.hpp>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/json/strict_json.h"
#include "libs/store/audit_store.h"

namespace weft::store {
namespace {

std::string HexOf(const std::string& bytes) {
  return Hex({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

struct TextMember {
  const char* name;
  std::string AuditRow::*field;
};
constexpr TextMember kTexts[] = {
    {"tenant_id", &AuditRow::tenant},
    {"id", &AuditRow::id},
    {"user_id", &AuditRow::user_id},
    {"key_id", &AuditRow::key_id},
    {"auth_method", &AuditRow::auth_method},
    {"action", &AuditRow::action},
    {"resource_type", &AuditRow::resource_type},
    {"resource_id", &AuditRow::resource_id},
    {"outcome", &AuditRow::outcome},
    {"request_id", &AuditRow::request_id},
    {"details", &AuditRow::details},  // as text: its bytes are what was hashed
    {"ip_address", &AuditRow::ip_address},
    {"user_agent", &AuditRow::user_agent},
};
constexpr TextMember kBytes[] = {{"salt", &AuditRow::salt},
                                 {"personal_hash", &AuditRow::personal_hash},
                                 {"hash", &AuditRow::hash}};

}  // namespace

std::string AuditJson(const AuditRow& row) {
  nlohmann::ordered_json out;
  out["seq"] = row.seq;
  out["created_at_us"] = row.at_us;
  for (const TextMember& member : kTexts) out[member.name] = row.*member.field;
  for (const TextMember& member : kBytes) out[member.name] = HexOf(row.*member.field);
  out["erased"] = row.erased;
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::StatusOr<AuditRow> ParseAuditJson(std::string_view line) {
  WEFT_ASSIGN_OR_RETURN(const nlohmann::json in, ParseStrictJson(line, {.depth = 2, .values = 64}));
  if (!in.is_object()) return InvalidArgument("must be an object");
  AuditRow row;
  for (const auto& [name, number] :
       {std::pair("seq", &row.seq), std::pair("created_at_us", &row.at_us)}) {
    if (!in.contains(name) || !in.at(name).is_number_integer()) {
      return InvalidArgument("{}: must be an integer", name);
    }
    *number = in.at(name).get<int64_t>();
  }
  for (const TextMember& member : kTexts) {
    if (!in.contains(member.name) || !in.at(member.name).is_string()) {
      return InvalidArgument("{}: must be a string", member.name);
    }
    row.*member.field = in.at(member.name).get<std::string>();
  }
  for (const TextMember& member : kBytes) {
    if (!in.contains(member.name) || !in.at(member.name).is_string()) {
      return InvalidArgument("{}: must be a string", member.name);
    }
    const std::string hex = in.at(member.name).get<std::string>();
    std::string& bytes = row.*member.field;
    bytes.resize(hex.size() / 2);
    if (!ParseHex(hex, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()})) {
      return InvalidArgument("{}: must be hexadecimal digits", member.name);
    }
  }
  if (!in.contains("erased") || !in.at("erased").is_boolean()) {
    return InvalidArgument("erased: must be true or false");
  }
  row.erased = in.at("erased").get<bool>();
  return row;
}

}  // namespace weft::store
