// The audit in the database: many events in one transaction, those of Note by the journal.
#pragma once

#include <memory>
#include <string>

#include "libs/identity/audit.h"
#include "libs/store/audit_store.h"
#include "libs/store/batch_writer.h"
#include "libs/store/database.h"
#include "libs/usage/spool.h"

namespace weft::gateway {

store::AuditRow ToAuditRow(identity::AuditEvent event);

// Thread safe. Events of Note are in the journal when it returns, and reach the database from there
// once, also when the gateway is killed (AppendNotes). Without a journal, or with a full disk, they
// wait in memory (100,000 at most; beyond, they are counted as lost and logged). Keep waits for the
// database, and fails after 5 s.
class StoredAudit final : public identity::AuditSink {
 public:
  // `key`: of the chain's HMAC; empty: none. `journal` outlives it; nullptr: none.
  StoredAudit(std::shared_ptr<store::Database> database, std::string key,
              usage::Spool* journal = nullptr);

  void Note(identity::AuditEvent event) override;
  absl::Status Keep(identity::AuditEvent event) override;

  const std::string& key() const { return key_; }
  store::BatchWriter<store::AuditRow>::Stats stats() const { return writer_.stats(); }

 private:
  const std::shared_ptr<store::Database> database_;
  const std::string key_;
  usage::Spool* const journal_;
  store::BatchWriter<store::AuditRow> writer_;
};

// What the journal brings: rows as Note put them there, those that are not in the database yet.
absl::Status AppendNotes(store::Database& database, std::span<const std::string> notes,
                         std::string_view key);

}  // namespace weft::gateway
