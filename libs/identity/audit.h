// What is written down of who did what. Where it is kept is the sink's matter.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

#include "libs/base/clock.h"

namespace weft::identity {

struct Principal;

struct AuditEvent {
  WallTime at{};
  std::string tenant;         // whose
  std::string user_id;        // who: Principal::subject; empty: nobody that is known
  std::string key_id;         // by which key
  std::string method;         // how they showed it: AuthMethodName
  std::string action;         // "models:use", "keys:write", "login"
  std::string resource_type;  // "model", "api_key"
  std::string resource_id;
  std::string outcome;  // "ok", "denied", "failed"
  std::string request_id;
  std::string ip_address;
  std::string user_agent;
  std::string details;  // a JSON object, or empty; never a secret
};

// Who made the request, filled from a principal (nullptr: nobody).
AuditEvent AuditOf(const Principal* principal, WallTime at);

// Thread safe.
class AuditSink {
 public:
  virtual ~AuditSink() = default;
  // Does not block: for what happens at every request.
  virtual void Note(AuditEvent event) = 0;
  // The event is safe when this returns OK; it may block. For acts of administration, which are
  // answered after it; an error means that the act must not be reported as done.
  virtual absl::Status Keep(AuditEvent event) = 0;
};

// Writes events to the log, under the logger "audit".
class LogAuditSink final : public AuditSink {
 public:
  void Note(AuditEvent event) override;
  absl::Status Keep(AuditEvent event) override;
};

}  // namespace weft::identity
