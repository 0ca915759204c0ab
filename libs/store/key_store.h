// API keys and their tenants at rest.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/store/database.h"

namespace weft::store {

struct KeyRecord {
  std::string id;
  std::string name;
  std::string tenant;
  std::string role;         // its role, or several separated by commas
  std::string salt;         // 16 random bytes
  std::string secret_hash;  // HMAC-SHA-256, 32 bytes
  uint32_t requests_per_minute = 60;
  std::string max_priority;      // "low", "normal", "high", or empty: as the role may
  int64_t created_at = 0;        // Unix seconds, as all times here
  int64_t expires_at = 0;        // 0 = never
  int64_t last_used_at = 0;      // 0 = never
  int64_t revoked_at = 0;        // 0 = in force
  std::string project = {};      // empty = none
  std::string user_id = {};      // whose it is; empty = nobody's
  std::string environment = {};  // of the key's text; empty = none
  // JSON lists of strings; an empty list restricts nothing.
  std::string scopes = "[]";
  std::string allowed_ips = "[]";
  std::string allowed_models = "[]";
  std::string replaces = {};  // the id of the key that it came after
};

// Thread safe. Reads take one indexed look-up; writes are durable when they return.
class KeyStore {
 public:
  virtual ~KeyStore() = default;

  // ALREADY_EXISTS when the id is taken. Makes the tenant if it is new.
  virtual absl::Status Insert(const KeyRecord& key) = 0;
  // A key of a tenant that is suspended or erased counts as revoked here.
  virtual absl::StatusOr<std::optional<KeyRecord>> Find(std::string_view id) = 0;
  // Newest first; an empty tenant means all.
  virtual absl::StatusOr<std::vector<KeyRecord>> List(std::string_view tenant) = 0;
  // NOT_FOUND. Revoking again keeps the first time.
  virtual absl::Status Revoke(std::string_view id, int64_t at) = 0;
  // When keys were last used: id -> time. Never moves a time back.
  virtual absl::Status Touch(const std::map<std::string, int64_t>& last_used) = 0;
  // NOT_FOUND. Ends a key at that time, unless it ends earlier: what a successor overlaps with.
  virtual absl::Status Expire(std::string_view id, int64_t at) = 0;
  // A number that changes after keys were made or ended, here or by another process; a cache over
  // the store polls it.
  virtual absl::StatusOr<int64_t> ChangeNumber() = 0;

  // Over a database whose schema is up to date.
  static std::unique_ptr<KeyStore> Over(std::shared_ptr<Database> database);
  // A SQLite file, brought up to date.
  static absl::StatusOr<std::unique_ptr<KeyStore>> OpenSqlite(const std::string& path);
};

}  // namespace weft::store
