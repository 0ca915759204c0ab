// Who acts, as handlers of REST and gRPC hand it to what is checked and written down.
#pragma once

#include <string>

#include "libs/base/clock.h"
#include "libs/identity/api_key.h"
#include "libs/identity/audit.h"
#include "libs/identity/principal.h"

namespace weft::gateway {

struct Actor {
  identity::PrincipalPtr principal;
  std::string request_id;
  std::string address;
  std::string user_agent;
};

// What clients send may hold a key by mistake: the audit does not.
inline identity::AuditEvent AuditOf(const Actor& actor, WallTime at, std::string action,
                                    std::string resource_type, const std::string& resource_id,
                                    std::string outcome) {
  identity::AuditEvent event = identity::AuditOf(actor.principal.get(), at);
  event.request_id = actor.request_id;
  event.ip_address = actor.address;
  event.user_agent = identity::RedactSecrets(actor.user_agent.substr(0, 256));
  event.action = std::move(action);
  event.resource_type = std::move(resource_type);
  event.resource_id = identity::RedactSecrets(resource_id.substr(0, 256));
  event.outcome = std::move(outcome);
  return event;
}

}  // namespace weft::gateway
