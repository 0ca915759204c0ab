// The audit in the database: many events in one transaction.
#pragma once

#include <memory>
#include <string>

#include "libs/identity/audit.h"
#include "libs/store/audit_store.h"
#include "libs/store/batch_writer.h"
#include "libs/store/database.h"

namespace weft::gateway {

store::AuditRow ToAuditRow(identity::AuditEvent event);

// Thread safe. While the database is away, events of Note wait in memory (100,000 at most; beyond,
// they are counted as lost and logged), and Keep fails after 5 s.
class StoredAudit final : public identity::AuditSink {
 public:
  // `key`: of the chain's HMAC; empty: none.
  StoredAudit(std::shared_ptr<store::Database> database, std::string key);

  void Note(identity::AuditEvent event) override;
  absl::Status Keep(identity::AuditEvent event) override;

  const std::string& key() const { return key_; }
  store::BatchWriter<store::AuditRow>::Stats stats() const { return writer_.stats(); }

 private:
  const std::shared_ptr<store::Database> database_;
  const std::string key_;
  store::BatchWriter<store::AuditRow> writer_;
};

}  // namespace weft::gateway
