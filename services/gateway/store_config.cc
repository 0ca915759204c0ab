#include "services/gateway/store_config.h"

#include "libs/base/status.h"
#include "libs/config/binder.h"
#include "libs/store/schema.h"

namespace weft::gateway {

using namespace std::chrono_literals;

void BindStore(config::Binder& b, std::string& where, StoreConfig& c) {
  b.TextShownAs("database", &where,
                "path of a SQLite file, or a postgresql:// URL (several gateways share one); a "
                "URL's password is never shown",
                [](const std::string& value) { return store::Database::ShownName(value); });
  b.Secret(
      "audit_key", &c.audit_key,
      "key of the chain of hashes over the audit (HMAC-SHA-256): who can write the database, but "
      "does not have it, cannot make a chain anew; rows keep to the key they were written with");
  b.Secret(
      "master_keys", &c.master_keys,
      "keys of the encryption at rest, id:64 hexadecimal digits, separated by commas; the first "
      "seals what is new, the others open what is older; empty = nothing can be sealed");
  b.Int(
      "audit_refusals", &c.refusals.most, 0, 10'000,
      "requests that were turned away at the door (401, 403, 429): addresses and keys in a minute "
      "with rows of their own in the audit, the rest is counted together; 0 = none are written");
  b.Section("retention", "What goes by itself when it is old.",
            [&](config::Binder& retention) { Bind(retention, c.retention); });
  b.Section("prompts", "Prompts and answers, kept sealed where it is asked for.",
            [&](config::Binder& prompts) {
              prompts.Int(
                  "days", &c.prompts.days, 0, kMostDays,
                  "how long they are kept, of tenants whose setting `prompts` does not say; "
                  "0 = not at all; needs gateway.master_keys");
              prompts.Bytes("max_bytes", &c.prompts.max_bytes, 1024, 4 << 20,
                            "of a prompt and of each answer; what is longer is cut");
            });
  b.Duration("system_metrics_interval", &c.metrics_interval, 0ms, 24h,
             "between two rows of the table system_metrics; 0 = none");
  b.Section("store", "How the database is used.", [&](config::Binder& store) {
    store.Int("connections", &c.database.connections, 1, 256,
              "connections to PostgreSQL at most; of SQLite, those that only read");
    store.Duration("wait", &c.database.wait, 10ms, 5min,
                   "how long a request waits for a connection, or for another process's lock");
    store.Duration("statement_timeout", &c.database.statement, 10ms, 10min,
                   "for one statement; PostgreSQL");
    store.Duration("connect_timeout", &c.database.connect, 10ms, 5min,
                   "for one connection to be made; PostgreSQL");
    store.Duration("longest_back_off", &c.database.longest_back_off, 50ms, 5min,
                   "between two attempts to reach a server that is away; PostgreSQL");
  });
}

absl::Status Validate(const StoreConfig& config) {
  if (config.prompts.days > 0 && config.master_keys.empty()) {
    return InvalidArgument("gateway.prompts.days: needs gateway.master_keys to seal them under");
  }
  return absl::OkStatus();
}

absl::StatusOr<store::MasterKeys> MasterKeysOf(const StoreConfig& config) {
  auto keys = store::MasterKeys::Parse(config.master_keys);
  if (!keys.ok()) return Annotate(keys.status(), "gateway.master_keys");
  return keys;
}

absl::StatusOr<std::shared_ptr<store::Database>> OpenDatabase(const std::string& where,
                                                              const StoreConfig& config) {
  auto opened = store::Database::Open(where, config.database);
  if (!opened.ok()) return Annotate(opened.status(), "gateway.database");
  std::shared_ptr<store::Database> database = *std::move(opened);
  WEFT_RETURN_IF_ERROR(database->Migrate(store::Schema()));
  return database;
}

}  // namespace weft::gateway
