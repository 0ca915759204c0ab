// The table of the REST API. A route cannot exist without a guard and documentation: the
// router, the access check, metrics and the OpenAPI document are all made from these entries.
#pragma once

#include <absl/status/status.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "libs/http/router.h"
#include "libs/identity/principal.h"
#include "services/gateway/call.h"

namespace weft::gateway {

struct EndpointDoc {
  std::string operation_id;  // unique
  std::string summary;       // one line
  std::string description = {};
  std::string tag;           // groups operations
  std::string request = {};  // a schema's name; empty: no body
  std::string response;      // a schema's name, or a media type for what is not JSON
  int status = 200;
  bool streams = false;                 // may answer with server-sent events
  std::vector<std::string> query = {};  // names of query parameters
  bool optional_body = false;           // may be sent without the body of `request`
};

struct Endpoint {
  std::string method;
  std::string pattern;
  identity::Guard guard;  // has no default: a route that names none does not compile
  bool rate_limited = true;
  EndpointDoc doc;
  std::function<void(const Call&)> handler;
};

// Filled first, then read by many threads.
class EndpointTable {
 public:
  EndpointTable() : router_(std::make_shared<http::Router>()) {}

  // INVALID_ARGUMENT for an entry without documentation, ALREADY_EXISTS for a route or an operation
  // id that is there.
  absl::Status Add(Endpoint endpoint);

  // Instead of the server's own. NOT_FOUND for a route ("POST /v1/keys") that does not exist.
  absl::Status SetLimits(const std::string& route, const http::RouteLimits& limits);
  const Endpoint* Find(const http::Router::Route* route) const;
  const std::deque<Endpoint>& endpoints() const { return endpoints_; }
  std::shared_ptr<const http::Router> router() const { return router_; }

 private:
  std::deque<Endpoint> endpoints_;
  std::unordered_map<std::string, const Endpoint*> by_route_;  // "GET /v1/models"
  std::shared_ptr<http::Router> router_;
};

// The OpenAPI 3.1 document of the table, as JSON.
std::string OpenApiDocument(const EndpointTable& table, std::string_view version);
// The names that EndpointDoc may use.
bool HasSchema(std::string_view name);

}  // namespace weft::gateway
