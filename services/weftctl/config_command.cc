// weftctl --print-config: what the services of a mesh on this machine would run with, as one file.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "services/weftctl/commands.h"
#include "services/weftctl/supervise/capture.h"
#include "services/weftctl/supervise/mesh_plan.h"
#include "services/weftctl/supervise/state.h"

namespace weft::ctl {
namespace {

constexpr std::string_view kShared = "telemetry";  // every service prints it beside its own

// The lines of one top-level section, its name included. Empty when it is not there.
std::string Section(std::string_view yaml, std::string_view name) {
  const std::string head = fmt::format("{}:\n", name);
  std::string out;
  bool inside = false;
  while (!yaml.empty()) {
    const size_t end = yaml.find('\n');
    const std::string_view line = yaml.substr(0, end == yaml.npos ? end : end + 1);
    yaml.remove_prefix(line.size());
    if (line.front() != ' ' && line.front() != '\n') inside = line == head;
    if (inside) out += line;
  }
  return out;
}

}  // namespace

absl::StatusOr<int> PrintConfig(const std::string& config) {
  WEFT_ASSIGN_OR_RETURN(supervise::Home home, supervise::Home::Find(""));
  WEFT_ASSIGN_OR_RETURN(const supervise::MeshPlan plan,
                        supervise::MakePlan({.home = home,
                                             .config_file = config,
                                             .bin_dir = OwnFolder(),
                                             .workers = 1,
                                             .model_path = home.root + "/models/model.gguf",
                                             .jaeger = {},
                                             .jaeger_config = {}}));
  std::string shared;
  for (const supervise::ServiceSpec& service : plan.services) {
    std::vector<std::string> ask = service.argv;
    ask.push_back("--print-config");
    WEFT_ASSIGN_OR_RETURN(const supervise::Captured answer,
                          supervise::Capture(ask, std::chrono::seconds(30)));
    if (answer.exit_code != 0) {
      return InvalidArgument("{} refuses its configuration:\n{}", service.name, answer.err);
    }
    // Workers are worker-0, worker-1 …: their section is "worker".
    fmt::print("{}", Section(answer.out, service.name.substr(0, service.name.find('-'))));
    if (shared.empty()) shared = Section(answer.out, kShared);
  }
  fmt::print("{}", shared);
  return 0;
}

}  // namespace weft::ctl
