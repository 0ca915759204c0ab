#include "libs/store/key_store.h"

#include <array>
#include <mutex>
#include <span>

#include "libs/base/status.h"
#include "libs/store/sqlite.h"

namespace weft::store {
namespace {

// Forward only: a step that was released is never edited.
constexpr std::array<std::string_view, 2> kMigrations = {
    R"sql(
CREATE TABLE tenants (
  name       TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
  id                  TEXT PRIMARY KEY,
  name                TEXT NOT NULL,
  tenant              TEXT NOT NULL REFERENCES tenants (name),
  role                TEXT NOT NULL CHECK (role IN ('admin', 'developer')),
  salt                BLOB NOT NULL CHECK (length(salt) = 16),
  secret_hash         BLOB NOT NULL CHECK (length(secret_hash) = 32),
  requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute > 0),
  created_at          INTEGER NOT NULL,
  expires_at          INTEGER NOT NULL DEFAULT 0,
  last_used_at        INTEGER NOT NULL DEFAULT 0,
  revoked_at          INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);
)sql",
    R"sql(
ALTER TABLE api_keys ADD COLUMN max_priority TEXT NOT NULL DEFAULT ''
  CHECK (max_priority IN ('', 'low', 'normal', 'high'));
)sql",
};

constexpr std::string_view kColumns =
    "id, name, tenant, role, salt, secret_hash, requests_per_minute, created_at, expires_at, "
    "last_used_at, revoked_at, max_priority";

std::span<const uint8_t> Bytes(const std::string& s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

KeyRecord ReadRow(const Statement& row) {
  KeyRecord key;
  key.id = row.Text(0);
  key.name = row.Text(1);
  key.tenant = row.Text(2);
  key.role = row.Text(3);
  key.salt = row.Blob(4);
  key.secret_hash = row.Blob(5);
  key.requests_per_minute = static_cast<uint32_t>(row.Int(6));
  key.created_at = row.Int(7);
  key.expires_at = row.Int(8);
  key.last_used_at = row.Int(9);
  key.revoked_at = row.Int(10);
  key.max_priority = row.Text(11);
  return key;
}

class SqliteKeyStore final : public KeyStore {
 public:
  explicit SqliteKeyStore(std::unique_ptr<Database> db) : db_(std::move(db)) {}

  absl::Status Insert(const KeyRecord& key) override {
    std::lock_guard lock(mutex_);
    return db_->Transaction([&]() -> absl::Status {
      {
        WEFT_ASSIGN_OR_RETURN(Statement tenant,
                              db_->Prepare("INSERT INTO tenants (name, created_at) VALUES (?1, ?2) "
                                           "ON CONFLICT (name) DO NOTHING"));
        WEFT_RETURN_IF_ERROR(tenant.Bind(1, key.tenant).Bind(2, key.created_at).Run());
      }
      WEFT_ASSIGN_OR_RETURN(
          Statement insert,
          db_->Prepare(fmt::format(
              "INSERT INTO api_keys ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, "
              "?12)",
              kColumns)));
      return insert.Bind(1, key.id)
          .Bind(2, key.name)
          .Bind(3, key.tenant)
          .Bind(4, key.role)
          .BindBlob(5, Bytes(key.salt))
          .BindBlob(6, Bytes(key.secret_hash))
          .Bind(7, static_cast<int64_t>(key.requests_per_minute))
          .Bind(8, key.created_at)
          .Bind(9, key.expires_at)
          .Bind(10, key.last_used_at)
          .Bind(11, key.revoked_at)
          .Bind(12, key.max_priority)
          .Run();
    });
  }

  absl::StatusOr<std::optional<KeyRecord>> Find(std::string_view id) override {
    std::lock_guard lock(mutex_);
    WEFT_ASSIGN_OR_RETURN(
        Statement select,
        db_->Prepare(fmt::format("SELECT {} FROM api_keys WHERE id = ?1", kColumns)));
    select.Bind(1, id);
    WEFT_ASSIGN_OR_RETURN(const bool found, select.Step());
    if (!found) return std::optional<KeyRecord>();
    return std::optional<KeyRecord>(ReadRow(select));
  }

  absl::StatusOr<std::vector<KeyRecord>> List(std::string_view tenant) override {
    std::lock_guard lock(mutex_);
    WEFT_ASSIGN_OR_RETURN(
        Statement select,
        db_->Prepare(fmt::format("SELECT {} FROM api_keys WHERE ?1 = '' OR tenant = ?1 "
                                 "ORDER BY created_at DESC, id",
                                 kColumns)));
    select.Bind(1, tenant);
    std::vector<KeyRecord> keys;
    while (true) {
      WEFT_ASSIGN_OR_RETURN(const bool row, select.Step());
      if (!row) return keys;
      keys.push_back(ReadRow(select));
    }
  }

  absl::Status Revoke(std::string_view id, int64_t at) override {
    std::lock_guard lock(mutex_);
    WEFT_ASSIGN_OR_RETURN(
        Statement update,
        db_->Prepare("UPDATE api_keys SET revoked_at = iif(revoked_at = 0, ?2, revoked_at) "
                     "WHERE id = ?1 RETURNING id"));
    update.Bind(1, id).Bind(2, at);
    bool found = false;
    while (true) {  // to its end: a statement that is dropped earlier is not committed
      WEFT_ASSIGN_OR_RETURN(const bool row, update.Step());
      if (!row) break;
      found = true;
    }
    return found ? absl::OkStatus() : NotFound("there is no key with the id '{}'", id);
  }

  absl::Status Touch(const std::map<std::string, int64_t>& last_used) override {
    if (last_used.empty()) return absl::OkStatus();
    std::lock_guard lock(mutex_);
    return db_->Transaction([&]() -> absl::Status {
      for (const auto& [id, at] : last_used) {
        WEFT_ASSIGN_OR_RETURN(
            Statement update,
            db_->Prepare("UPDATE api_keys SET last_used_at = max(last_used_at, ?2) WHERE id = ?1"));
        WEFT_RETURN_IF_ERROR(update.Bind(1, id).Bind(2, at).Run());
      }
      return absl::OkStatus();
    });
  }

  absl::StatusOr<int64_t> ChangeNumber() override {
    std::lock_guard lock(mutex_);
    return db_->DataVersion();
  }

 private:
  std::mutex mutex_;
  const std::unique_ptr<Database> db_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KeyStore>> KeyStore::OpenSqlite(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(path));
  WEFT_RETURN_IF_ERROR(db->Migrate(kMigrations));
  return std::unique_ptr<KeyStore>(std::make_unique<SqliteKeyStore>(std::move(db)));
}

}  // namespace weft::store
