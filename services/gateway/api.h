// The handlers of the REST API and their table.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "libs/base/thread_pool.h"
#include "libs/identity/audit.h"
#include "services/gateway/active_requests.h"
#include "services/gateway/answer_cache.h"
#include "services/gateway/auth_routes.h"
#include "services/gateway/data_admin.h"
#include "services/gateway/edge.h"
#include "services/gateway/endpoint.h"
#include "services/gateway/generation.h"
#include "services/gateway/key_admin.h"
#include "services/gateway/prompt_keeper.h"
#include "services/gateway/resource_admin.h"
#include "services/gateway/traffic_guard.h"

namespace weft::gateway {

// What handlers need; all outlive the table.
struct ApiDeps {
  GenerationDeps generation;
  RequestLimits limits;
  KeyAdmin* keys = nullptr;
  ResourceAdmin* resources = nullptr;
  DataAdmin* data = nullptr;
  identity::AuditSink* audit = nullptr;
  const Edge* edge = nullptr;
  std::shared_ptr<const LoginDeps> login = std::make_shared<LoginDeps>();
  ActiveRequests* active = nullptr;
  TrafficGuard* traffic = nullptr;
  AnswerCache* cache = nullptr;
  PromptKeeper* prompts = nullptr;
  ThreadPool* blocking = nullptr;  // for what waits for the database
  ThreadPool* bulk = nullptr;      // and for a long time (admin_call.h)
  std::function<std::string()> metrics_text;
  std::function<bool(std::string* why)> ready;
  std::string version;
};

// The document of /openapi.json describes exactly this table.
absl::StatusOr<std::unique_ptr<EndpointTable>> MakeApi(std::shared_ptr<const ApiDeps> deps);

}  // namespace weft::gateway
