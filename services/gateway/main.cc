#include <cstdio>

#include "libs/base/status.h"
#include "libs/config/cli.h"
#include "libs/config/schema.h"
#include "libs/http/probe.h"
#include "services/gateway/server.h"

int main(int argc, char** argv) {
  weft::gateway::Config config;
  weft::telemetry::Config telemetry;
  const auto environment = weft::config::ProcessEnvironment();
  absl::Status status = weft::gateway::ApplyDocumentedEnvironment(environment, config.traffic.redis,
                                                                  config.traffic.limits);
  status.Update(weft::gateway::ApplyDocumentedEnvironment(environment, config.cache));
  status.Update(weft::gateway::ApplyDocumentedEnvironment(environment, config.identity));
  if (!status.ok()) {
    std::fprintf(stderr, "weft-gateway: %s\n", std::string(weft::Message(status)).c_str());
    return 2;
  }
  return weft::config::ServiceMain(
      argc, argv,
      {
          .name = "weft-gateway",
          .summary = "The mesh's outside: REST and gRPC APIs, API keys, limits, security policy.",
          .declare =
              [&](weft::config::Schema& schema) {
                schema.Section("gateway", "The gateway.",
                               [&](weft::config::Binder& b) { Bind(b, config); });
                schema.Section("telemetry", "Logs, metrics and traces.",
                               [&](weft::config::Binder& b) { Bind(b, telemetry); });
              },
          .validate = [&] { return config.Validate(); },
          .run = [&] { return weft::gateway::Run(config, telemetry); },
          .check_health =
              [&](const std::string& url) {
                return weft::http::CheckHealth(config.admin_listen, url);
              },
      });
}
