#include "tests/integration/gateway/gateway_fixture.h"

#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "libs/base/status.h"
#include "tests/support/catch.h"

namespace weft::test {

using nlohmann::json;
using namespace std::chrono_literals;

GatewayFixture::GatewayFixture(std::function<void(gateway::Config&)> adjust, int count) {
  for (int i = 0; i < count; ++i) {
    schedulers.push_back(FakeScheduler::Start());
    config.scheduler = i == 0 ? schedulers.back()->address()
                              : config.scheduler + "," + schedulers.back()->address();
  }
  config.listen = "127.0.0.1:0";
  config.grpc_listen = "127.0.0.1:0";
  config.admin_listen = "127.0.0.1:0";
  config.scanner.clear();
  config.database = dir.File("gateway.db");
  config.admin_key_file = dir.File("admin.key");
  config.admin_requests_per_minute = 1'000'000;
  config.traffic.limits.scopes[0] = {};  // of all requests together: tests make many
  config.cache.enabled = false;          // tests ask the same again and want it made again
  if (adjust) adjust(config);
  telemetry::Config telemetry_config;
  telemetry_config.log_file = dir.File("gateway.log");
  telemetry_config.traces = false;
  auto started = rpc::StartTelemetry(telemetry_config, "weft-gateway", "test");
  REQUIRE(started.ok());
  telemetry = std::move(*started);
  auto made = gateway::GatewayServer::Start(config, *telemetry);
  INFO((made.ok() ? "" : ToString(made.status())));
  REQUIRE(made.ok());
  server = std::move(*made);
  std::ifstream file(config.admin_key_file);
  std::getline(file, admin_key);
  WaitFor(
      [&] {
        std::string why;
        return server->ready(&why);
      },
      "readiness");
}

GatewayFixture::~GatewayFixture() { server.reset(); }

std::string GatewayFixture::RequestBytes(std::string_view path, const json& body) const {
  const std::string text = body.dump();
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: x\r\n{}Content-Type: application/json\r\nContent-Length: "
      "{}\r\n\r\n{}",
      path, Auth(), text.size(), text);
}

RawHttp::Answer GatewayFixture::Post(std::string_view path, const json& body,
                                     const std::string& headers) {
  return PostRaw(path, body.dump(), headers);
}
RawHttp::Answer GatewayFixture::PostRaw(std::string_view path, std::string_view body,
                                        const std::string& headers) {
  return HttpRequest(server->http_port(), "POST", path, body,
                     (headers.empty() ? Auth() : headers) + "Content-Type: application/json\r\n");
}
RawHttp::Answer GatewayFixture::Get(std::string_view path, const std::string& headers) {
  return HttpRequest(server->http_port(), "GET", path, {}, headers.empty() ? Auth() : headers);
}

void GatewayFixture::WaitFor(const std::function<bool()>& condition, std::string_view what,
                             std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    INFO("waiting for " << what);
    REQUIRE(std::chrono::steady_clock::now() < end);
    std::this_thread::sleep_for(2ms);
  }
}

double GatewayFixture::Metric(const std::string& series) {
  const std::string text = HttpRequest(server->admin_port(), "GET", "/metrics").body;
  const size_t at = text.find("\n" + series + " ");
  return at == std::string::npos ? 0 : std::stod(text.substr(at + series.size() + 2));
}

json ChatBody(const std::string& prompt, const json& more) {
  json body = {{"model", "fake"}, {"messages", {{{"role", "user"}, {"content", prompt}}}}};
  body.update(more);
  return body;
}

std::vector<json> Events(const std::string& body) {
  std::vector<json> events;
  size_t at = 0;
  while (at < body.size()) {
    const size_t end = body.find("\n\n", at);
    REQUIRE(end != std::string::npos);
    const std::string line = body.substr(at, end - at);
    REQUIRE(line.rfind("data: ", 0) == 0);
    events.push_back(line == "data: [DONE]" ? json("[DONE]") : json::parse(line.substr(6)));
    at = end + 2;
  }
  return events;
}

}  // namespace weft::test
