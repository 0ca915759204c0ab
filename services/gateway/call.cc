#include "services/gateway/call.h"

#include "services/gateway/api_error.h"

namespace weft::gateway {

http::Response Call::Decorate(http::Response response) const {
  for (const auto& [name, value] : context_->headers) response.headers.Set(name, value);
  return response;
}

Actor Call::actor() const {
  return {context_->principal, context_->request_id, request().remote_address,
          std::string(request().headers.Get("User-Agent"))};
}

void Call::Send(http::Response response) const { exchange_->Send(Decorate(std::move(response))); }

void Call::SendJson(int status, std::string body) const {
  Send(http::Response::Json(status, std::move(body)));
}

void Call::Fail(const absl::Status& status) const { Send(ErrorResponse(ToApiError(status))); }

bool Call::StartStream(http::Response head) const {
  return exchange_->StartStream(Decorate(std::move(head)));
}

}  // namespace weft::gateway
