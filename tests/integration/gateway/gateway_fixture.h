// A whole gateway on free ports, over a fake scheduler, with an admin and a developer key.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "libs/rpc/otlp_exporter.h"
#include "services/gateway/server.h"
#include "tests/support/fake_scheduler.h"
#include "tests/support/raw_http.h"
#include "tests/support/temp_dir.h"

namespace weft::test {

class GatewayFixture {
 public:
  explicit GatewayFixture(std::function<void(gateway::Config&)> adjust = {}, int schedulers = 1);
  ~GatewayFixture();

  RawHttp::Answer Post(std::string_view path, const nlohmann::json& body,
                       const std::string& headers = "");
  RawHttp::Answer PostRaw(std::string_view path, std::string_view body,
                          const std::string& headers = "");
  RawHttp::Answer Get(std::string_view path, const std::string& headers = "");
  std::string Auth() const { return "Authorization: Bearer " + admin_key + "\r\n"; }
  // The head and body of a POST as bytes, for tests that send it by hand.
  std::string RequestBytes(std::string_view path, const nlohmann::json& body) const;
  void WaitFor(const std::function<bool()>& condition, std::string_view what,
               std::chrono::seconds limit = std::chrono::seconds(15));
  double Metric(const std::string& series);

  TempDir dir;
  std::vector<std::unique_ptr<FakeScheduler>> schedulers;
  gateway::Config config;
  std::unique_ptr<telemetry::Telemetry> telemetry;
  std::unique_ptr<gateway::GatewayServer> server;
  std::string admin_key;
};

nlohmann::json ChatBody(const std::string& prompt,
                        const nlohmann::json& more = nlohmann::json::object());
// The JSON of each event; "[DONE]" as a string.
std::vector<nlohmann::json> Events(const std::string& body);

}  // namespace weft::test
