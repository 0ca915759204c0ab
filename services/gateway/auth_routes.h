// /auth: signing in and out, and who one is.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/thread_pool.h"
#include "libs/identity/audit.h"
#include "libs/identity/oidc_login.h"
#include "libs/identity/token_service.h"
#include "libs/identity/user.h"
#include "services/gateway/auth_guard.h"
#include "services/gateway/endpoint.h"
#include "services/gateway/metrics.h"

namespace weft::gateway {

// What signing in needs; all outlive the table. Without `tokens` nobody can sign in.
struct LoginDeps {
  identity::TokenService* tokens = nullptr;
  std::vector<identity::PasswordLogin*> logins;  // asked in turn
  identity::OidcLogin* browser = nullptr;        // by another's page; nullptr: none
  AuthGuard* addresses = nullptr;                // failures of an address, as for keys
  limits::RateLimiter* failures = nullptr;       // of one user, whatever the address
  limits::Limit failures_of_user{.requests = 10, .window = std::chrono::seconds(300)};
  // Whether there is such a tenant; blocks. What strangers write must not begin a tenant's audit.
  std::function<bool(const std::string& tenant)> tenant_exists;
  ThreadPool* threads = nullptr;  // passwords take long: few at once, and not on an I/O thread
  identity::AuditSink* audit = nullptr;
  Metrics* metrics = nullptr;
  Clock* clock = nullptr;
};

absl::Status AddOidcRoutes(const std::shared_ptr<const LoginDeps>& deps, EndpointTable& table);
absl::Status AddAuthRoutes(const std::shared_ptr<const LoginDeps>& deps, EndpointTable& table);

// A session's two cookies, on an answer; without a token they are taken away.
void SetSessionCookies(const identity::IssuedToken* token, http::Response& response);

}  // namespace weft::gateway
