// weftctl: the engine without the mesh, and the mesh on one machine.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "libs/base/status.h"
#include "libs/config/cli.h"
#include "services/weftctl/commands.h"

namespace {

int Exit(const absl::StatusOr<int>& result) {
  if (result.ok()) return *result;
  fmt::print(stderr, "weftctl: {}\n", weft::Message(result.status()));
  return result.status().code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Weft's command line: runs models without the mesh, and the mesh on one machine.",
               "weftctl");
  app.set_version_flag("--version", "weftctl " + weft::config::Version());
  std::string config;
  bool print_config = false;
  auto* file = app.add_option("--config", config, "the mesh's YAML file, for --print-config");
  app.add_flag("--print-config", print_config,
               "print what all services make of their configuration, and exit");
  app.require_subcommand(0, 1);
  weft::ctl::Commands commands;
  weft::ctl::AddMeshCommands(app, commands);
  weft::ctl::AddEngineCommands(app, commands);
  weft::ctl::AddModelCommands(app, commands);
  weft::ctl::AddPullCommand(app, commands);
  weft::ctl::AddRolloutCommands(app, commands);
  weft::ctl::AddTextCommands(app, commands);
#ifdef WEFTCTL_WITH_KEYS  // not on a machine without gRPC
  weft::ctl::AddIdentityCommands(app, commands);
  weft::ctl::AddKeysCommands(app, commands);
  weft::ctl::AddResourceCommands(app, commands);
  weft::ctl::AddDataCommands(app, commands);
  weft::ctl::AddAuditCommands(app, commands);
  weft::ctl::AddCacheCommands(app, commands);
#endif
  auto* version = app.add_subcommand("version", "print the version");
  commands.push_back({version, []() -> absl::StatusOr<int> {
                        fmt::print("weftctl {}\n", weft::config::Version());
                        return 0;
                      }});
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (print_config) return Exit(weft::ctl::PrintConfig(config));
  if (file->count() > 0 || app.get_subcommands().empty()) {
    fmt::print(stderr, "weftctl: a subcommand or --print-config is required; see weftctl --help\n");
    return 2;
  }
  for (const weft::ctl::Command& command : commands) {
    if (!command.app->parsed()) continue;
    return Exit(command.run());
  }
  return 2;
}
