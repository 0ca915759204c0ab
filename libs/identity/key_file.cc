#include "libs/identity/key_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/identity/api_key.h"
#include "libs/identity/key_service.h"
#include "libs/json/strict_json.h"

namespace weft::identity {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = size_t{16} << 20;
constexpr size_t kSaltBytes = 16;
constexpr size_t kHashBytes = 32;
constexpr size_t kIdCharacters = 12;
constexpr const char* kFields[] = {
    "id",         "name",       "tenant", "role", "requests_per_minute",
    "created_at", "expires_at", "salt",   "hash"};
// These may be missing.
constexpr const char* kMaxPriority = "max_priority";
constexpr const char* kProject = "project";
constexpr const char* kEnvironment = "environment";
constexpr const char* kScopes = "scopes";
constexpr const char* kAllowedIps = "allowed_ips";
constexpr const char* kAllowedModels = "allowed_models";
constexpr const char* kOptional[] = {kMaxPriority, kProject,    kEnvironment,
                                     kScopes,      kAllowedIps, kAllowedModels};

absl::Status ReadText(const json& key, const char* field, std::string& out) {
  const json& value = key.at(field);
  if (!value.is_string()) return InvalidArgument("{}: must be a string", field);
  out = value.get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadTime(const json& key, const char* field, int64_t& out) {
  const json& value = key.at(field);
  if (!value.is_number_unsigned() ||
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidArgument("{}: must be a time in Unix seconds, or 0", field);
  }
  out = value.get<int64_t>();
  return absl::OkStatus();
}

absl::Status ReadBytes(const json& key, const char* field, size_t bytes, std::string& out) {
  std::string text;
  WEFT_RETURN_IF_ERROR(ReadText(key, field, text));
  std::vector<uint8_t> raw(bytes);
  if (text.size() != 2 * bytes || !ParseHex(text, raw)) {
    return InvalidArgument("{}: must be {} hexadecimal digits", field, 2 * bytes);
  }
  out.assign(raw.begin(), raw.end());
  return absl::OkStatus();
}

// A list of texts, and its text as records keep it. One that is not there is empty.
absl::Status ReadTexts(const json& key, const char* field, std::vector<std::string>& out,
                       std::string& text) {
  if (!key.contains(field)) return absl::OkStatus();
  const json& list = key.at(field);
  if (!list.is_array()) return InvalidArgument("{}: must be a list of texts", field);
  for (const json& one : list) {
    if (!one.is_string()) return InvalidArgument("{}: must be a list of texts", field);
    out.push_back(one.get<std::string>());
  }
  text = list.dump();
  return absl::OkStatus();
}

bool IsKeyId(std::string_view id) {
  for (const char c : id) {
    if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))) return false;
  }
  return id.size() == kIdCharacters;
}

absl::StatusOr<store::KeyRecord> ReadKey(const json& key) {
  if (!key.is_object()) return InvalidArgument("must be an object");
  for (const char* field : kFields) {
    if (!key.contains(field)) return InvalidArgument("{}: is missing", field);
  }
  for (const auto& [name, value] : key.items()) {
    bool known = std::find(std::begin(kOptional), std::end(kOptional), name) != std::end(kOptional);
    for (const char* field : kFields) known = known || name == field;
    if (!known) return InvalidArgument("{}: is not a field of a key", name);
  }
  store::KeyRecord record;
  NewKey fields;
  WEFT_RETURN_IF_ERROR(ReadText(key, "id", record.id));
  if (!IsKeyId(record.id)) {
    return InvalidArgument("id: must be {} letters and digits", kIdCharacters);
  }
  WEFT_RETURN_IF_ERROR(ReadText(key, "name", fields.name));
  WEFT_RETURN_IF_ERROR(ReadText(key, "tenant", fields.tenant));
  WEFT_RETURN_IF_ERROR(ReadText(key, "role", record.role));
  fields.role = record.role;
  const json& rate = key.at("requests_per_minute");
  if (!rate.is_number_unsigned() || rate.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
    return InvalidArgument("requests_per_minute: must be 1 to 1000000");
  }
  fields.requests_per_minute = rate.get<uint32_t>();
  if (key.contains(kMaxPriority)) {
    WEFT_RETURN_IF_ERROR(ReadText(key, kMaxPriority, fields.max_priority));
  }
  if (key.contains(kProject)) WEFT_RETURN_IF_ERROR(ReadText(key, kProject, fields.project));
  if (key.contains(kEnvironment)) {
    WEFT_RETURN_IF_ERROR(ReadText(key, kEnvironment, record.environment));
  }
  WEFT_RETURN_IF_ERROR(ReadTexts(key, kScopes, fields.scopes, record.scopes));
  WEFT_RETURN_IF_ERROR(ReadTexts(key, kAllowedIps, fields.addresses, record.allowed_ips));
  WEFT_RETURN_IF_ERROR(ReadTexts(key, kAllowedModels, fields.models, record.allowed_models));
  WEFT_RETURN_IF_ERROR(CheckKeyFields(fields));
  WEFT_RETURN_IF_ERROR(ReadTime(key, "created_at", record.created_at));
  WEFT_RETURN_IF_ERROR(ReadTime(key, "expires_at", record.expires_at));
  WEFT_RETURN_IF_ERROR(ReadBytes(key, "salt", kSaltBytes, record.salt));
  WEFT_RETURN_IF_ERROR(ReadBytes(key, "hash", kHashBytes, record.secret_hash));
  record.name = fields.name;
  record.tenant = fields.tenant;
  record.requests_per_minute = fields.requests_per_minute;
  record.max_priority = fields.max_priority;
  record.project = fields.project;
  return record;
}

std::string HexOf(const std::string& bytes) {
  return Hex({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

}  // namespace

absl::StatusOr<std::vector<store::KeyRecord>> ParseKeyFile(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const json file, ParseStrictJson(text, {.depth = 4}));
  if (!file.is_object() || file.size() != 1 || !file.contains("keys") ||
      !file.at("keys").is_array()) {
    return InvalidArgument("must be an object with the list \"keys\" and nothing else");
  }
  std::vector<store::KeyRecord> keys;
  std::set<std::string> ids;
  for (const json& key : file.at("keys")) {
    auto record = ReadKey(key);
    if (!record.ok()) {
      return InvalidArgument("keys[{}].{}", keys.size(), Message(record.status()));
    }
    if (!ids.insert(record->id).second) {
      return InvalidArgument("keys[{}].id: {} is there twice", keys.size(), record->id);
    }
    keys.push_back(*std::move(record));
  }
  return keys;
}

std::string FormatKeyFile(const std::vector<store::KeyRecord>& keys) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const store::KeyRecord& key : keys) {
    list.push_back({{"id", key.id},
                    {"name", key.name},
                    {"tenant", key.tenant},
                    {"role", key.role},
                    {"requests_per_minute", key.requests_per_minute},
                    {"created_at", key.created_at},
                    {"expires_at", key.expires_at},
                    {"salt", HexOf(key.salt)},
                    {"hash", HexOf(key.secret_hash)}});
    for (const auto& [field, value] :
         {std::pair(kMaxPriority, &key.max_priority), std::pair(kProject, &key.project),
          std::pair(kEnvironment, &key.environment)}) {
      if (!value->empty()) list.back()[field] = *value;
    }
    for (const auto& [field, value] :
         {std::pair(kScopes, &key.scopes), std::pair(kAllowedIps, &key.allowed_ips),
          std::pair(kAllowedModels, &key.allowed_models)}) {
      const json texts = json::parse(*value, nullptr, false);
      if (texts.is_array() && !texts.empty()) list.back()[field] = texts;
    }
  }
  nlohmann::ordered_json file;
  file["keys"] = std::move(list);
  return file.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

absl::StatusOr<std::vector<store::KeyRecord>> ReadKeyFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return FailedPrecondition("cannot read {}: {}", path, std::strerror(errno));
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return FailedPrecondition("cannot read {}: {}", path, std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxBytes) {
    return FailedPrecondition("{}: has more than {} bytes", path, kMaxBytes);
  }
  auto keys = ParseKeyFile(text);
  if (!keys.ok()) return Annotate(keys.status(), path);
  return keys;
}

absl::Status WriteSecretFile(const std::string& path, std::string_view text) {
  const std::string part = path + ".part";
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return FailedPrecondition("cannot write {}: {}", part, std::strerror(errno));
  const bool written = fchmod(fd, 0600) == 0 &&
                       write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       fsync(fd) == 0;
  const int error = errno;
  close(fd);
  if (written && rename(part.c_str(), path.c_str()) == 0) return absl::OkStatus();
  unlink(part.c_str());
  return FailedPrecondition("cannot write {}: {}", path, std::strerror(written ? errno : error));
}

}  // namespace weft::identity
