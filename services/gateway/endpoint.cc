#include "services/gateway/endpoint.h"

#include "libs/base/status.h"

namespace weft::gateway {

absl::Status EndpointTable::Add(Endpoint endpoint) {
  const std::string name = endpoint.method + " " + endpoint.pattern;
  const EndpointDoc& doc = endpoint.doc;
  if (doc.operation_id.empty() || doc.summary.empty() || doc.tag.empty() || doc.response.empty()) {
    return InvalidArgument("route {} has no complete documentation", name);
  }
  for (const std::string& schema : {doc.request, doc.response}) {
    const bool media_type = schema.find('/') != std::string::npos;
    if (!schema.empty() && !media_type && !HasSchema(schema)) {
      return InvalidArgument("route {} names the unknown schema {}", name, schema);
    }
  }
  for (const Endpoint& other : endpoints_) {
    if (other.doc.operation_id == doc.operation_id) {
      return AlreadyExists("operation id {} is there twice", doc.operation_id);
    }
  }
  endpoints_.push_back(std::move(endpoint));
  const Endpoint* added = &endpoints_.back();
  if (absl::Status status = router_->Add(
          added->method, added->pattern,
          [added](const http::ExchangePtr& exchange) { added->handler(Call(exchange)); });
      !status.ok()) {
    endpoints_.pop_back();
    return status;
  }
  by_route_[name] = added;
  return absl::OkStatus();
}

absl::Status EndpointTable::SetLimits(const std::string& route, const http::RouteLimits& limits) {
  const size_t space = route.find(' ');
  return router_->SetLimits(route.substr(0, space), route.substr(space + 1), limits);
}

const Endpoint* EndpointTable::Find(const http::Router::Route* route) const {
  if (route == nullptr) return nullptr;
  const auto it = by_route_.find(route->method + " " + route->pattern);
  return it == by_route_.end() ? nullptr : it->second;
}

}  // namespace weft::gateway
