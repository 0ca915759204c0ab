#include "libs/config/cli.h"
#include "libs/http/probe.h"
#include "libs/telemetry/telemetry.h"
#include "services/scanner/config.h"
#include "services/scanner/server.h"

int main(int argc, char** argv) {
  weft::scanner::Config config;
  weft::telemetry::Config telemetry;
  return weft::config::ServiceMain(
      argc, argv,
      {.name = "weft-scanner",
       .summary = "Looks for secrets, unsafe code and injections in prompts and generated text.",
       .declare =
           [&](weft::config::Schema& schema) {
             schema.Section("scanner", "The scanner.",
                            [&](weft::config::Binder& b) { Bind(b, config); });
             schema.Section("telemetry", "Logs, metrics and traces.",
                            [&](weft::config::Binder& b) { Bind(b, telemetry); });
           },
       .validate = [&] { return config.Validate(); },
       .run = [&] { return weft::scanner::Run(config, telemetry); },
       .check_health =
           [&](const std::string& url) {
             return weft::http::CheckHealth(config.admin_listen, url);
           }});
}
