// What every service's main does: read the shared flags, load the configuration, run.
//
//   int main(int argc, char** argv) {
//     weft::scanner::Config config;
//     weft::telemetry::Config telemetry;
//     return weft::config::ServiceMain(argc, argv, {
//         .name = "weft-scanner",
//         .summary = "Looks for secrets and unsafe code in prompts and generated text.",
//         .declare = [&](weft::config::Schema& schema) {
//           schema.Section("scanner", "The scanner.", [&](auto& b) { Bind(b, config); });
//           schema.Section("telemetry", "Logs and traces.", [&](auto& b) { Bind(b, telemetry); });
//         },
//         .validate = [&] { return config.Validate(); },
//         .run = [&] { return weft::scanner::Run(config, telemetry); },
//     });
//   }
//
// Flags: --config FILE, --set section.key=value (repeatable), --print-config, --config-reference,
// --healthcheck[=URL], --version, --help, and the service's own shortcuts. Exit code 0: done; 1:
// run failed; 2: the command line or configuration is bad.
#pragma once

#include <absl/status/status.h>

#include <functional>
#include <string>
#include <vector>

#include "libs/config/schema.h"

namespace weft::config {

// A flag of its own for a key that is often given: --device cuda for --set worker.device=cuda.
struct Shortcut {
  std::string flag, value, key;  // "--device", "DEVICE", "worker.device"
};

struct ServiceSpec {
  std::string name;
  std::string summary;
  std::vector<Shortcut> shortcuts = {};
  std::function<void(Schema&)> declare;
  std::function<absl::Status()> validate;  // optional: checks between fields
  std::function<absl::Status()> run;
  // optional: asks the service of this configuration, or `url` if it is not empty, for its health
  std::function<absl::Status(const std::string& url)> check_health;
};

// Blocks SIGTERM and SIGINT for the whole process (see base/shutdown.h) before it calls run.
int ServiceMain(int argc, char** argv, const ServiceSpec& spec);

// "0.1.0"
std::string Version();

}  // namespace weft::config
