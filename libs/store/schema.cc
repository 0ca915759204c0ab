#include "libs/store/schema.h"

#include <array>

namespace weft::store {
namespace {

// Keys and the names of their tenants.
constexpr Migration kKeys = {.sqlite = R"sql(
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
                             .postgres = R"sql(
CREATE TABLE tenants (
  name       TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
  created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
  id                  TEXT PRIMARY KEY,
  name                TEXT NOT NULL,
  tenant              TEXT NOT NULL REFERENCES tenants (name),
  role                TEXT NOT NULL,
  salt                BYTEA NOT NULL CHECK (length(salt) = 16),
  secret_hash         BYTEA NOT NULL CHECK (length(secret_hash) = 32),
  requests_per_minute BIGINT NOT NULL CHECK (requests_per_minute > 0),
  created_at          BIGINT NOT NULL,
  expires_at          BIGINT NOT NULL DEFAULT 0,
  last_used_at        BIGINT NOT NULL DEFAULT 0,
  revoked_at          BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);
)sql"};

constexpr Migration kPriority = {.sqlite = R"sql(
ALTER TABLE api_keys ADD COLUMN max_priority TEXT NOT NULL DEFAULT ''
  CHECK (max_priority IN ('', 'low', 'normal', 'high'));
)sql",
                                 .postgres = R"sql(
ALTER TABLE api_keys ADD COLUMN max_priority TEXT NOT NULL DEFAULT ''
  CHECK (max_priority IN ('', 'low', 'normal', 'high'));
)sql"};

// Quotas that gateways look for changes of, and work that one of them does at a time.
constexpr Migration kUpkeep = {.sqlite = R"sql(
INSERT INTO store_changes VALUES ('quotas', 0);
CREATE TABLE upkeep (task TEXT PRIMARY KEY, next_at_us INTEGER NOT NULL) STRICT;
)sql",
                               .postgres = R"sql(
INSERT INTO store_changes VALUES ('quotas', 0);
CREATE TABLE upkeep (task TEXT PRIMARY KEY, next_at_us BIGINT NOT NULL);
)sql"};

}  // namespace

std::span<const Migration> Schema() {
  static const std::array<Migration, 4> kSteps = {kKeys, kPriority, TenancyStep(), kUpkeep};
  return kSteps;
}

}  // namespace weft::store
