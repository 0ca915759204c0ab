#include "libs/config/cli.h"
#include "libs/http/probe.h"
#include "services/gateway/server.h"

int main(int argc, char** argv) {
  weft::gateway::Config config;
  weft::telemetry::Config telemetry;
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
