#include "libs/store/key_store.h"

#include "libs/base/status.h"
#include "libs/store/changes.h"
#include "libs/store/schema.h"

namespace weft::store {
namespace {

constexpr std::string_view kColumns =
    "id, name, tenant, role, salt, secret_hash, requests_per_minute, created_at, expires_at, "
    "last_used_at, revoked_at, max_priority, project, user_id, environment, scopes, allowed_ips, "
    "allowed_models, replaces";

KeyRecord ReadRow(const Row& row) {
  KeyRecord key;
  key.id = row.Text(0);
  key.name = row.Text(1);
  key.tenant = row.Text(2);
  key.role = row.Text(3);
  key.salt = row.Text(4);
  key.secret_hash = row.Text(5);
  key.requests_per_minute = static_cast<uint32_t>(row.Int(6));
  key.created_at = row.Int(7);
  key.expires_at = row.Int(8);
  key.last_used_at = row.Int(9);
  key.revoked_at = row.Int(10);
  key.max_priority = row.Text(11);
  key.project = row.Text(12);
  key.user_id = row.Text(13);
  key.environment = row.Text(14);
  key.scopes = row.Text(15);
  key.allowed_ips = row.Text(16);
  key.allowed_models = row.Text(17);
  key.replaces = row.Text(18);
  return key;
}

class SqlKeyStore final : public KeyStore {
 public:
  explicit SqlKeyStore(std::shared_ptr<Database> db) : db_(std::move(db)) {}

  absl::Status Insert(const KeyRecord& key) override {
    return db_->Write(Scope::Tenant(key.tenant), [&](Session& s) -> absl::Status {
      WEFT_RETURN_IF_ERROR(s.Run("INSERT INTO tenants (name, created_at) VALUES ($1, $2) "
                                 "ON CONFLICT (name) DO NOTHING",
                                 {key.tenant, key.created_at})
                               .status());
      WEFT_RETURN_IF_ERROR(
          s.Run(fmt::format("INSERT INTO api_keys ({}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, "
                            "$10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
                            kColumns),
                {key.id, key.name, key.tenant, key.role, Value::Blob(key.salt),
                 Value::Blob(key.secret_hash), key.requests_per_minute, key.created_at,
                 key.expires_at, key.last_used_at, key.revoked_at, key.max_priority, key.project,
                 key.user_id, key.environment, key.scopes, key.allowed_ips, key.allowed_models,
                 key.replaces})
              .status());
      return NoteChange(s, Topic::kKeys);
    });
  }

  absl::StatusOr<std::optional<KeyRecord>> Find(std::string_view id) override {
    WEFT_ASSIGN_OR_RETURN(
        const Result found,
        db_->ReadOne(Scope::System(),
                     fmt::format("SELECT {}, (SELECT status FROM tenants WHERE tenants.name = "
                                 "api_keys.tenant) FROM api_keys WHERE id = $1",
                                 kColumns),
                     {id}));
    if (found.rows.empty()) return std::optional<KeyRecord>();
    KeyRecord key = ReadRow(found.rows[0]);
    if (key.revoked_at == 0 && found.rows[0].Text(19) != "active") key.revoked_at = 1;
    return std::optional<KeyRecord>(std::move(key));
  }

  absl::StatusOr<std::vector<KeyRecord>> List(std::string_view tenant) override {
    const Scope scope = tenant.empty() ? Scope::System() : Scope::Tenant(tenant);
    WEFT_ASSIGN_OR_RETURN(
        const Result found,
        db_->ReadOne(scope,
                     fmt::format("SELECT {} FROM api_keys WHERE {} ORDER BY created_at DESC, id",
                                 kColumns, tenant.empty() ? "TRUE" : "tenant = $1"),
                     {tenant}));
    std::vector<KeyRecord> keys;
    keys.reserve(found.rows.size());
    for (const Row& row : found.rows) keys.push_back(ReadRow(row));
    return keys;
  }

  absl::Status Revoke(std::string_view id, int64_t at) override {
    return End(id, at,
               "UPDATE api_keys SET revoked_at = CASE revoked_at WHEN 0 THEN $2 ELSE revoked_at "
               "END WHERE id = $1");
  }

  absl::Status Expire(std::string_view id, int64_t at) override {
    return End(id, at,
               "UPDATE api_keys SET expires_at = CASE WHEN expires_at = 0 OR expires_at > $2 "
               "THEN $2 ELSE expires_at END WHERE id = $1");
  }

  absl::Status Touch(const std::map<std::string, int64_t>& last_used) override {
    if (last_used.empty()) return absl::OkStatus();
    return db_->Write(Scope::System(), [&](Session& s) -> absl::Status {
      for (const auto& [id, at] : last_used) {  // in the ids' order: two processes do not deadlock
        WEFT_RETURN_IF_ERROR(
            s.Run("UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2",
                  {id, at})
                .status());
      }
      return absl::OkStatus();
    });
  }

  absl::StatusOr<int64_t> ChangeNumber() override {
    return store::ChangeNumber(*db_, Topic::kKeys);
  }

 private:
  absl::Status End(std::string_view id, int64_t at, std::string_view sql) {
    return db_->Write(Scope::System(), [&](Session& s) -> absl::Status {
      WEFT_ASSIGN_OR_RETURN(const Result done, s.Run(sql, {id, at}));
      if (done.changed == 0) return NotFound("there is no key with the id '{}'", id);
      return NoteChange(s, Topic::kKeys);
    });
  }

  const std::shared_ptr<Database> db_;
};

}  // namespace

std::unique_ptr<KeyStore> KeyStore::Over(std::shared_ptr<Database> database) {
  return std::make_unique<SqlKeyStore>(std::move(database));
}

absl::StatusOr<std::unique_ptr<KeyStore>> KeyStore::OpenSqlite(const std::string& path) {
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(path));
  WEFT_RETURN_IF_ERROR(db->Migrate(Schema()));
  return Over(std::move(db));
}

}  // namespace weft::store
