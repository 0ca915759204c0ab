#include "libs/config/cli.h"
#include "libs/http/probe.h"
#include "libs/telemetry/telemetry.h"
#include "services/scheduler/config.h"
#include "services/scheduler/server.h"

int main(int argc, char** argv) {
  weft::scheduler::Config config;
  weft::telemetry::Config telemetry;
  return weft::config::ServiceMain(
      argc, argv,
      {.name = "weft-scheduler",
       .summary = "Queues requests, tokenises, picks workers and survives their loss.",
       .declare =
           [&](weft::config::Schema& schema) {
             schema.Section("scheduler", "The scheduler.",
                            [&](weft::config::Binder& b) { Bind(b, config); });
             schema.Section("telemetry", "Logs, metrics and traces.",
                            [&](weft::config::Binder& b) { Bind(b, telemetry); });
           },
       .validate = [&] { return config.Validate(); },
       .run = [&] { return weft::scheduler::Run(config, telemetry); },
       .check_health =
           [&](const std::string& url) {
             return weft::http::CheckHealth(config.admin_listen, url);
           }});
}
