// Where the gateway keeps what outlives it: the keys of `gateway.database` and `gateway.store`.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "libs/store/database.h"
#include "libs/store/sealer.h"
#include "services/gateway/prompt_keeper.h"
#include "services/gateway/refusal_audit.h"
#include "services/gateway/retention.h"

namespace weft::config {
class Binder;
}

namespace weft::gateway {

struct StoreConfig {
  store::DatabaseOptions database;
  std::string master_keys;  // of the encryption at rest: "id:hex,id:hex"
  std::string audit_key;    // of the HMAC over the audit's chains; empty: none
  RefusalAuditOptions refusals;
  RetentionConfig retention;
  PromptConfig prompts;
  std::chrono::milliseconds metrics_interval{std::chrono::minutes(1)};  // of system_metrics
};

// `where` is gateway.database, which came before the section.
void BindStore(config::Binder& binder, std::string& where, StoreConfig& config);

// What its parts do not check by themselves.
absl::Status Validate(const StoreConfig& config);

absl::StatusOr<store::MasterKeys> MasterKeysOf(const StoreConfig& config);

// Opens it and brings its schema up to date.
absl::StatusOr<std::shared_ptr<store::Database>> OpenDatabase(const std::string& where,
                                                              const StoreConfig& config);

}  // namespace weft::gateway
