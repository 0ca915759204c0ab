#include <initializer_list>
#include <string>
#include <utility>

#include "libs/store/schema.h"

namespace weft::store {
namespace {

// One text for both: {int}, {real} and {blob} are the dialect's types, {strict} ends a table.
// Names of tables and columns that requirement 002 fixes are kept (tenant_id in audit_logs and
// system_metrics). Times are Unix seconds, in *_us microseconds. JSON is text that was checked
// before it came here.
constexpr std::string_view kTables = R"sql(
ALTER TABLE tenants ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN plan_type TEXT NOT NULL DEFAULT 'free';
ALTER TABLE tenants ADD COLUMN status TEXT NOT NULL DEFAULT 'active'
  CHECK (status IN ('active', 'suspended', 'erased'));
ALTER TABLE tenants ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN quota_limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN billing_info TEXT NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN updated_at {int} NOT NULL DEFAULT 0;

CREATE TABLE projects (
  tenant       TEXT NOT NULL REFERENCES tenants (name),
  name         TEXT NOT NULL,
  display_name TEXT NOT NULL DEFAULT '',
  settings     TEXT NOT NULL DEFAULT '{}',
  created_at   {int} NOT NULL,
  updated_at   {int} NOT NULL,
  PRIMARY KEY (tenant, name)
){strict};

CREATE TABLE users (
  id            TEXT PRIMARY KEY,
  tenant        TEXT NOT NULL REFERENCES tenants (name),
  username      TEXT NOT NULL,
  email         TEXT NOT NULL DEFAULT '',
  display_name  TEXT NOT NULL DEFAULT '',
  project       TEXT NOT NULL DEFAULT '',
  role          TEXT NOT NULL DEFAULT 'developer',
  models        TEXT NOT NULL DEFAULT '[]',
  requests_per_minute {int} NOT NULL DEFAULT 60,
  password_hash TEXT NOT NULL DEFAULT '',
  tokens_from   {int} NOT NULL DEFAULT 0,
  issuer        TEXT NOT NULL DEFAULT '',
  subject       TEXT NOT NULL DEFAULT '',
  status        TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
  created_at    {int} NOT NULL,
  updated_at    {int} NOT NULL,
  last_login_at {int} NOT NULL DEFAULT 0,
  UNIQUE (tenant, username)
){strict};
CREATE UNIQUE INDEX users_by_subject ON users (issuer, subject) WHERE issuer <> '';

CREATE TABLE roles (
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  permissions TEXT NOT NULL DEFAULT '[]',
  models      TEXT NOT NULL DEFAULT '[]',
  created_at  {int} NOT NULL,
  updated_at  {int} NOT NULL,
  PRIMARY KEY (tenant, name)
){strict};

CREATE TABLE role_bindings (
  id           TEXT PRIMARY KEY,
  tenant       TEXT NOT NULL REFERENCES tenants (name),
  subject_kind TEXT NOT NULL CHECK (subject_kind IN ('user', 'key', 'group')),
  subject_id   TEXT NOT NULL,
  role         TEXT NOT NULL,
  project      TEXT NOT NULL DEFAULT '',
  created_at   {int} NOT NULL,
  updated_at   {int} NOT NULL,
  UNIQUE (tenant, subject_kind, subject_id, role, project)
){strict};

CREATE TABLE quotas (
  id           TEXT PRIMARY KEY,
  tenant       TEXT NOT NULL REFERENCES tenants (name),
  subject_kind TEXT NOT NULL CHECK (subject_kind IN ('tenant', 'project', 'user', 'key', 'model')),
  subject_id   TEXT NOT NULL DEFAULT '',
  metric       TEXT NOT NULL CHECK (metric IN ('requests', 'tokens', 'cost_micros')),
  period       TEXT NOT NULL CHECK (period IN ('day', 'month')),
  soft_limit   {int} NOT NULL DEFAULT 0,
  hard_limit   {int} NOT NULL DEFAULT 0,
  created_at   {int} NOT NULL,
  updated_at   {int} NOT NULL,
  UNIQUE (tenant, subject_kind, subject_id, metric, period)
){strict};

CREATE TABLE usage_records (
  id                   TEXT PRIMARY KEY,
  tenant               TEXT NOT NULL,
  project              TEXT NOT NULL DEFAULT '',
  user_id              TEXT NOT NULL DEFAULT '',
  key_id               TEXT NOT NULL DEFAULT '',
  model                TEXT NOT NULL,
  model_version        TEXT NOT NULL DEFAULT '',
  request_id           TEXT NOT NULL DEFAULT '',
  endpoint             TEXT NOT NULL DEFAULT '',
  outcome              TEXT NOT NULL DEFAULT 'ok',
  prompt_tokens        {int} NOT NULL DEFAULT 0,
  cached_prompt_tokens {int} NOT NULL DEFAULT 0,
  completion_tokens    {int} NOT NULL DEFAULT 0,
  cost_micros          {int} NOT NULL DEFAULT 0,
  cached               {int} NOT NULL DEFAULT 0,
  duration_ms          {int} NOT NULL DEFAULT 0,
  created_at_us        {int} NOT NULL
){strict};
CREATE INDEX usage_by_tenant ON usage_records (tenant, created_at_us);

CREATE TABLE usage_daily (
  tenant               TEXT NOT NULL,
  day                  TEXT NOT NULL,
  project              TEXT NOT NULL,
  user_id              TEXT NOT NULL,
  key_id               TEXT NOT NULL,
  model                TEXT NOT NULL,
  requests             {int} NOT NULL,
  prompt_tokens        {int} NOT NULL,
  cached_prompt_tokens {int} NOT NULL,
  completion_tokens    {int} NOT NULL,
  cost_micros          {int} NOT NULL,
  PRIMARY KEY (tenant, day, project, user_id, key_id, model)
){strict};

CREATE TABLE audit_logs (
  tenant_id     TEXT NOT NULL,
  seq           {int} NOT NULL,
  id            TEXT NOT NULL UNIQUE,
  created_at_us {int} NOT NULL,
  user_id       TEXT NOT NULL,
  key_id        TEXT NOT NULL DEFAULT '',
  auth_method   TEXT NOT NULL DEFAULT '',
  action        TEXT NOT NULL,
  resource_type TEXT NOT NULL,
  resource_id   TEXT NOT NULL,
  outcome       TEXT NOT NULL,
  request_id    TEXT NOT NULL DEFAULT '',
  details       TEXT NOT NULL DEFAULT '{}',
  ip_address    TEXT NOT NULL DEFAULT '',
  user_agent    TEXT NOT NULL DEFAULT '',
  salt          {blob} NOT NULL,
  personal_hash {blob} NOT NULL,
  hash          {blob} NOT NULL,
  erased        {int} NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, seq)
){strict};
CREATE INDEX audit_logs_by_time ON audit_logs (tenant_id, created_at_us);
CREATE INDEX audit_logs_by_user ON audit_logs (tenant_id, user_id);

CREATE TABLE audit_heads (
  tenant_id  TEXT PRIMARY KEY,
  seq        {int} NOT NULL,
  hash       {blob} NOT NULL,
  first_seq  {int} NOT NULL DEFAULT 1,
  first_hash {blob} NOT NULL
){strict};

CREATE TABLE audit_upkeep (reason TEXT PRIMARY KEY){strict};

CREATE TABLE system_metrics (
  id           TEXT PRIMARY KEY,
  tenant_id    TEXT NOT NULL DEFAULT '',
  metric_type  TEXT NOT NULL,
  metric_name  TEXT NOT NULL,
  metric_value {real} NOT NULL,
  metadata     TEXT NOT NULL DEFAULT '{}',
  recorded_at  {int} NOT NULL
){strict};
CREATE INDEX system_metrics_by_name ON system_metrics (tenant_id, metric_name, recorded_at);

CREATE TABLE settings (
  tenant     TEXT NOT NULL,
  name       TEXT NOT NULL,
  value      TEXT NOT NULL,
  created_at {int} NOT NULL,
  updated_at {int} NOT NULL,
  PRIMARY KEY (tenant, name)
){strict};

CREATE TABLE data_keys (
  id            TEXT PRIMARY KEY,
  tenant        TEXT NOT NULL,
  master_key_id TEXT NOT NULL,
  wrapped       {blob} NOT NULL,
  created_at    {int} NOT NULL
){strict};
CREATE INDEX data_keys_by_tenant ON data_keys (tenant, created_at);

CREATE TABLE secrets (
  tenant      TEXT NOT NULL,
  kind        TEXT NOT NULL,
  name        TEXT NOT NULL,
  user_id     TEXT NOT NULL DEFAULT '',
  data_key_id TEXT NOT NULL REFERENCES data_keys (id),
  sealed      {blob} NOT NULL,
  created_at  {int} NOT NULL,
  PRIMARY KEY (tenant, kind, name)
){strict};
CREATE INDEX secrets_by_time ON secrets (tenant, kind, created_at);
CREATE INDEX secrets_by_key ON secrets (data_key_id);

CREATE TABLE store_changes (topic TEXT PRIMARY KEY, number {int} NOT NULL){strict};
INSERT INTO store_changes VALUES ('keys', 0), ('identity', 0), ('settings', 0);
)sql";

// SQLite cannot drop a CHECK: the table is made anew.
constexpr std::string_view kSqliteKeys = R"sql(
CREATE TABLE api_keys_new (
  id                  TEXT PRIMARY KEY,
  name                TEXT NOT NULL,
  tenant              TEXT NOT NULL REFERENCES tenants (name),
  role                TEXT NOT NULL,
  salt                BLOB NOT NULL CHECK (length(salt) = 16),
  secret_hash         BLOB NOT NULL CHECK (length(secret_hash) = 32),
  requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute > 0),
  created_at          INTEGER NOT NULL,
  expires_at          INTEGER NOT NULL DEFAULT 0,
  last_used_at        INTEGER NOT NULL DEFAULT 0,
  revoked_at          INTEGER NOT NULL DEFAULT 0,
  max_priority        TEXT NOT NULL DEFAULT ''
    CHECK (max_priority IN ('', 'low', 'normal', 'high'))
) STRICT, WITHOUT ROWID;
INSERT INTO api_keys_new SELECT id, name, tenant, role, salt, secret_hash, requests_per_minute,
  created_at, expires_at, last_used_at, revoked_at, max_priority FROM api_keys;
DROP TABLE api_keys;
ALTER TABLE api_keys_new RENAME TO api_keys;
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);
)sql";

constexpr std::string_view kKeyColumns = R"sql(
ALTER TABLE api_keys ADD COLUMN project TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN environment TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN allowed_ips TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN allowed_models TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN replaces TEXT NOT NULL DEFAULT '';
CREATE INDEX api_keys_by_user ON api_keys (tenant, user_id);
)sql";

// Append only: rows change and go only in a transaction that says why (erasure, retention), and
// whose reason is gone at its end.
constexpr std::string_view kSqliteTriggers = R"sql(
CREATE TRIGGER audit_logs_no_update BEFORE UPDATE ON audit_logs
WHEN NOT EXISTS (SELECT 1 FROM audit_upkeep)
BEGIN SELECT RAISE(ABORT, 'audit_logs is append only'); END;
CREATE TRIGGER audit_logs_no_delete BEFORE DELETE ON audit_logs
WHEN NOT EXISTS (SELECT 1 FROM audit_upkeep)
BEGIN SELECT RAISE(ABORT, 'audit_logs is append only'); END;
)sql";
constexpr std::string_view kPostgresTriggers = R"sql(
CREATE FUNCTION audit_logs_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM audit_upkeep) THEN
    RAISE EXCEPTION 'audit_logs is append only';
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
FOR EACH ROW EXECUTE FUNCTION audit_logs_append_only();
)sql";

std::string Filled(std::string_view text, Dialect dialect) {
  const bool sqlite = dialect == Dialect::kSqlite;
  std::string out(text);
  for (const auto& [mark, word] :
       std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"{int}", sqlite ? "INTEGER" : "BIGINT"},
           {"{real}", sqlite ? "REAL" : "DOUBLE PRECISION"},
           {"{blob}", sqlite ? "BLOB" : "BYTEA"},
           {"{strict}", sqlite ? " STRICT" : ""}}) {
    for (size_t at = 0; (at = out.find(mark, at)) != std::string::npos; at += word.size()) {
      out.replace(at, mark.size(), word);
    }
  }
  return out;
}

// FORCE: the owner, who the gateway is, is bound too. What belongs to no tenant ('') can be read
// by all where `shared`.
std::string RowSecurity(const std::string& table, const std::string& column, bool shared) {
  const std::string own = "(" + column + " = current_setting('weft.tenant', true) " +
                          "OR current_setting('weft.scope', true) = 'system')";
  std::string sql = "ALTER TABLE " + table + " ENABLE ROW LEVEL SECURITY;\n" + "ALTER TABLE " +
                    table + " FORCE ROW LEVEL SECURITY;\n" + "CREATE POLICY own_rows ON " + table +
                    " USING " + own + " WITH CHECK " + own + ";\n";
  if (shared) {
    sql += "CREATE POLICY shared_rows ON " + table + " FOR SELECT USING (" + column + " = '');\n";
  }
  return sql;
}

}  // namespace

Migration TenancyStep() {
  static const std::string kSqlite = Filled(kTables, Dialect::kSqlite) + std::string(kSqliteKeys) +
                                     std::string(kKeyColumns) + std::string(kSqliteTriggers);
  static const std::string kPostgres = [] {
    std::string sql = Filled(kTables, Dialect::kPostgres) + std::string(kKeyColumns) +
                      std::string(kPostgresTriggers);
    sql += RowSecurity("tenants", "name", false);
    for (const char* table : {"api_keys", "projects", "users", "role_bindings", "quotas",
                              "usage_records", "usage_daily", "data_keys", "secrets"}) {
      sql += RowSecurity(table, "tenant", false);
    }
    for (const char* table : {"audit_logs", "audit_heads", "system_metrics"}) {
      sql += RowSecurity(table, "tenant_id", false);
    }
    for (const char* table : {"roles", "settings"}) sql += RowSecurity(table, "tenant", true);
    return sql;
  }();
  return {kSqlite, kPostgres};
}

}  // namespace weft::store
