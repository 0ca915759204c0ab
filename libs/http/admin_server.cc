#include "libs/http/admin_server.h"

#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "libs/http/server.h"

namespace weft::http {
namespace {

Response Verdict(bool good, std::string_view word, const std::string& detail) {
  nlohmann::json body = {{"status", word}};
  if (!detail.empty()) body["detail"] = detail;
  return Response::Json(good ? 200 : 503,
                        body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

class AdminServerImpl final : public AdminServer {
 public:
  explicit AdminServerImpl(std::unique_ptr<Server> server) : server_(std::move(server)) {}
  uint16_t port() const override { return server_->port(); }

 private:
  std::unique_ptr<Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const AdminOptions& options,
                                                                AdminCallbacks callbacks) {
  auto shared = std::make_shared<AdminCallbacks>(std::move(callbacks));
  auto router = std::make_shared<Router>();
  WEFT_RETURN_IF_ERROR(router->Add("GET", "/metrics", [shared](const ExchangePtr& exchange) {
    Response response;
    response.headers.Add("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    if (shared->metrics) response.body = shared->metrics();
    exchange->Send(std::move(response));
  }));
  WEFT_RETURN_IF_ERROR(router->Add("GET", "/health", [shared](const ExchangePtr& exchange) {
    std::string detail;
    const bool good = !shared->healthy || shared->healthy(&detail);
    exchange->Send(Verdict(good, good ? "healthy" : "unhealthy", detail));
  }));
  WEFT_RETURN_IF_ERROR(router->Add("GET", "/ready", [shared](const ExchangePtr& exchange) {
    std::string detail;
    const bool good = !shared->ready || shared->ready(&detail);
    exchange->Send(Verdict(good, good ? "ready" : "not_ready", detail));
  }));
  ServerOptions server_options;
  server_options.host = options.host;
  server_options.port = options.port;
  server_options.max_connections = 256;
  server_options.max_body_bytes = 1024;
  WEFT_ASSIGN_OR_RETURN(auto server, Server::Start(server_options, std::move(router)));
  return std::unique_ptr<AdminServer>(std::make_unique<AdminServerImpl>(std::move(server)));
}

}  // namespace weft::http
