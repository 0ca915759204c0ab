#include "services/weftctl/supervise/state.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "libs/base/status.h"

namespace weft::supervise {

namespace fs = std::filesystem;
using nlohmann::json;

absl::Status Home::Create() const {
  for (const std::string& folder : {root, RunDir(), LogDir()}) {
    std::error_code error;
    const bool made = fs::create_directories(folder, error);
    if (error) return FailedPrecondition("cannot make the folder {}: {}", folder, error.message());
    // The folder of the services' sockets is nobody else's, whoever made it: whoever reaches them
    // is taken for a service of the mesh.
    if ((made || folder == RunDir()) && chmod(folder.c_str(), 0700) != 0) {
      return FailedPrecondition("cannot make {} private: {}", folder, std::strerror(errno));
    }
  }
  // sockaddr_un holds 107 bytes; the longest name is worker-63.
  if (const std::string longest = RunDir() + "/scheduler.sock"; longest.size() > 107) {
    return InvalidArgument(
        "the state directory's path is too long for Unix sockets ({} of 107 bytes): set WEFT_HOME "
        "to a shorter one than {}",
        longest.size(), root);
  }
  return absl::OkStatus();
}

absl::StatusOr<Home> Home::Find(const std::string& flag) {
  std::string path = flag;
  if (const char* variable = std::getenv("WEFT_HOME"); path.empty() && variable != nullptr) {
    path = variable;
  }
  if (path.empty()) path = ".weft";
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) return InvalidArgument("{} is no usable path: {}", path, error.message());
  std::string text = absolute.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return Home{text};
}

std::string StateJson(const MeshState& state) {
  json services = json::array();
  for (const ServiceStatus& service : state.services) {
    services.push_back({{"name", service.name},
                        {"pid", service.pid},
                        {"state", service.state},
                        {"restarts", service.restarts},
                        {"admin_host", service.admin_host},
                        {"admin_port", service.admin_port}});
  }
  return json{{"supervisor_pid", state.supervisor_pid},
              {"state", state.state},
              {"rest_url", state.rest_url},
              {"grpc_address", state.grpc_address},
              {"admin_key_file", state.admin_key_file},
              {"services", std::move(services)}}
      .dump(1);
}

absl::Status WriteState(const std::string& path, const MeshState& state) {
  const std::string part = path + ".part";
  {
    std::ofstream file(part, std::ios::trunc);
    file << StateJson(state) << '\n';
    file.flush();
    if (!file) return DataLoss("cannot write {}", part);
  }
  if (std::rename(part.c_str(), path.c_str()) != 0) {
    return DataLoss("cannot write {}: {}", path, std::strerror(errno));
  }
  return absl::OkStatus();
}

absl::StatusOr<MeshState> ReadState(const std::string& path) {
  std::ifstream file(path);
  if (!file) return NotFound("there is no {}", path);
  const json root = json::parse(file, nullptr, /*allow_exceptions=*/false);
  try {
    MeshState state;
    state.supervisor_pid = root.at("supervisor_pid").get<int>();
    state.state = root.at("state").get<std::string>();
    state.rest_url = root.at("rest_url").get<std::string>();
    state.grpc_address = root.at("grpc_address").get<std::string>();
    state.admin_key_file = root.at("admin_key_file").get<std::string>();
    for (const json& service : root.at("services")) {
      state.services.push_back({.name = service.at("name").get<std::string>(),
                                .pid = service.at("pid").get<int>(),
                                .state = service.at("state").get<std::string>(),
                                .restarts = service.at("restarts").get<uint32_t>(),
                                .admin_host = service.at("admin_host").get<std::string>(),
                                .admin_port = service.at("admin_port").get<uint16_t>()});
    }
    return state;
  } catch (const json::exception& error) {
    return DataLoss("{} is damaged: {}", path, error.what());
  }
}

}  // namespace weft::supervise
