// One HTTP request of the API, with who makes it and what every answer to it carries.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/http/exchange.h"
#include "libs/identity/principal.h"
#include "libs/telemetry/tracer.h"
#include "services/gateway/actor.h"

namespace weft::gateway {

struct Endpoint;

// Attached to http::Request::context by the front's header filter.
struct RequestContext {
  std::string request_id;
  identity::PrincipalPtr principal;          // nullptr for public routes
  const Endpoint* waits_for_body = nullptr;  // of a signed request that is not admitted yet
  telemetry::Span span;                      // the server span; ended by the access log
  std::vector<std::pair<std::string, std::string>> headers;  // of every answer
};

// Cheap to copy. Thread safe as the exchange is.
class Call {
 public:
  explicit Call(http::ExchangePtr exchange)
      : exchange_(std::move(exchange)),
        context_(std::static_pointer_cast<RequestContext>(exchange_->request().context)) {}

  const http::Request& request() const { return exchange_->request(); }
  RequestContext& context() const { return *context_; }
  Actor actor() const;
  http::Exchange& exchange() const { return *exchange_; }
  const http::ExchangePtr& shared() const { return exchange_; }

  void Send(http::Response response) const;
  void SendJson(int status, std::string body) const;
  void Fail(const absl::Status& status) const;
  bool StartStream(http::Response head) const;

 private:
  http::Response Decorate(http::Response response) const;

  http::ExchangePtr exchange_;
  std::shared_ptr<RequestContext> context_;
};

}  // namespace weft::gateway
