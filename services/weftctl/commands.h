// weftctl's subcommands: each declares its flags on the app and is run when it was named.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace weft::ctl {

// Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 (status) nothing runs.
struct Command {
  CLI::App* app;
  std::function<absl::StatusOr<int>()> run;
};
using Commands = std::vector<Command>;

void AddMeshCommands(CLI::App& app, Commands& commands);    // supervise, down, status
void AddEngineCommands(CLI::App& app, Commands& commands);  // run, bench
void AddModelCommands(CLI::App& app, Commands& commands);   // quantize, inspect
void AddPullCommand(CLI::App& app, Commands& commands);     // pull
void AddRolloutCommands(CLI::App& app,
                        Commands& commands);              // rollout start | resume | back | status
void AddTextCommands(CLI::App& app, Commands& commands);  // tokenize, render
void AddIdentityCommands(CLI::App& app, Commands& commands);  // permissions, hash-password
void AddKeysCommands(CLI::App& app, Commands& commands);  // keys create | generate | list | revoke
// tenant, project, user, role, role-binding, quota, setting: list | show | create | update | delete
void AddResourceCommands(CLI::App& app, Commands& commands);
// In the groups of AddResourceCommands: tenant|user export | erase; encryption rotate; prune
void AddDataCommands(CLI::App& app, Commands& commands);
void AddCacheCommands(CLI::App& app, Commands& commands);  // cache stats | invalidate
void AddAuditCommands(CLI::App& app, Commands& commands);  // audit list | export | verify; usage

// The folder of this program: where the services' binaries are too.
std::string OwnFolder();

// Prints the effective configuration of the mesh that `supervise` would start, secrets masked: the
// sections of the five services and `telemetry`. `config` is the YAML file, empty for none.
// INVALID_ARGUMENT with a service's own words if it refuses.
absl::StatusOr<int> PrintConfig(const std::string& config);

}  // namespace weft::ctl
