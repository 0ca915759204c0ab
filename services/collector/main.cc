#include "libs/config/cli.h"
#include "libs/http/probe.h"
#include "libs/telemetry/telemetry.h"
#include "services/collector/collector.h"

int main(int argc, char** argv) {
  weft::collector::Config config;
  weft::telemetry::Config telemetry;
  return weft::config::ServiceMain(
      argc, argv,
      {
          .name = "weft-collector",
          .summary = "Receives spans over OTLP, checks and batches them, and sends them on.",
          .declare =
              [&](weft::config::Schema& schema) {
                schema.Section("collector", "The span collector, `weft-collector`.",
                               [&](weft::config::Binder& b) { Bind(b, config); });
                schema.Section("telemetry", "Logs and traces of every service.",
                               [&](weft::config::Binder& b) { Bind(b, telemetry); });
              },
          .validate =
              [&] {
                const absl::Status status = config.Validate();
                return status.ok() ? telemetry.Validate() : status;
              },
          .run = [&] { return weft::collector::Run(config, telemetry); },
          .check_health =
              [&](const std::string& url) {
                return weft::http::CheckHealth(config.admin_listen, url);
              },
      });
}
