#include "services/gateway/stored_audit.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/telemetry/log.h"

namespace weft::gateway {
namespace {

constexpr std::chrono::seconds kKeepLimit{5};
const telemetry::Logger kLog("gateway.audit");

}  // namespace

store::AuditRow ToAuditRow(identity::AuditEvent event) {
  store::AuditRow row;
  row.id = NewRequestId();
  row.tenant = std::move(event.tenant);
  row.at_us = UnixNanos(event.at) / 1000;
  row.user_id = std::move(event.user_id);
  row.key_id = std::move(event.key_id);
  row.auth_method = std::move(event.method);
  row.action = std::move(event.action);
  row.resource_type = std::move(event.resource_type);
  row.resource_id = std::move(event.resource_id);
  row.outcome = std::move(event.outcome);
  row.request_id = std::move(event.request_id);
  row.details = event.details.empty() ? "{}" : std::move(event.details);
  row.ip_address = std::move(event.ip_address);
  row.user_agent = std::move(event.user_agent);
  return row;
}

absl::Status AppendNotes(store::Database& database, std::span<const std::string> notes,
                         std::string_view key) {
  std::vector<store::AuditRow> rows;
  for (const std::string& note : notes) {
    auto row = store::ParseAuditJson(note);
    if (row.ok()) {
      rows.push_back(*std::move(row));
    } else {
      kLog.Error("an event of the audit in the journal is broken", {{"exception", row.status()}});
    }
  }
  if (rows.empty()) return absl::OkStatus();
  return database.Write(store::Scope::System(), [&](store::Session& session) {
    return store::AppendAudit(session, rows, key, true);
  });
}

StoredAudit::StoredAudit(std::shared_ptr<store::Database> database, std::string key,
                         usage::Spool* journal)
    : database_(std::move(database)),
      key_(std::move(key)),
      journal_(journal),
      writer_([this](const std::vector<store::AuditRow>& rows, bool again) {
        return database_->Write(store::Scope::System(), [&](store::Session& session) {
          return store::AppendAudit(session, rows, key_, again);
        });
      }) {}

void StoredAudit::Note(identity::AuditEvent event) {
  store::AuditRow row = ToAuditRow(std::move(event));
  if (journal_ != nullptr && journal_->Note(store::AuditJson(row)).ok()) return;
  const std::string request_id = row.request_id;
  const std::string action = row.action;
  const auto lost = [request_id, action](const absl::Status& status) {
    if (status.ok()) return;
    kLog.Error("an event of the audit was lost",
               {{"request_id", request_id}, {"action", action}, {"exception", status}});
  };
  if (!writer_.Add(std::move(row), lost)) {
    lost(ResourceExhausted("too many events wait for the database"));
  }
}

absl::Status StoredAudit::Keep(identity::AuditEvent event) {
  return writer_.AddAndWait(ToAuditRow(std::move(event)), kKeepLimit);
}

}  // namespace weft::gateway
