#include "libs/identity/audit.h"

#include "libs/identity/principal.h"
#include "libs/telemetry/log.h"

namespace weft::identity {
namespace {

const telemetry::Logger kLog("audit");

}  // namespace

AuditEvent AuditOf(const Principal* principal, WallTime at) {
  AuditEvent event;
  event.at = at;
  if (principal == nullptr) return event;
  event.tenant = principal->tenant;
  event.user_id = principal->subject;
  event.key_id = principal->key_id;
  event.method = AuthMethodName(principal->method);
  return event;
}

void LogAuditSink::Note(AuditEvent event) {
  kLog.Info("audit", {{"request_id", event.request_id},
                      {"user_id", event.user_id},
                      {"tenant", event.tenant},
                      {"key_id", event.key_id},
                      {"auth_method", event.method},
                      {"action", event.action},
                      {"resource_type", event.resource_type},
                      {"resource_id", event.resource_id},
                      {"outcome", event.outcome},
                      {"ip_address", event.ip_address},
                      {"user_agent", event.user_agent},
                      {"details", event.details}});
}

absl::Status LogAuditSink::Keep(AuditEvent event) {
  Note(std::move(event));
  return absl::OkStatus();
}

}  // namespace weft::identity
