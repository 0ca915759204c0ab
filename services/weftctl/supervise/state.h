// The state directory: where everything of one mesh is, and the file that says what runs.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "services/weftctl/supervise/supervisor.h"

namespace weft::supervise {

// Paths under ${WEFT_HOME:-.weft}.
struct Home {
  std::string root;  // absolute

  std::string RunDir() const { return root + "/run"; }
  std::string LogDir() const { return root + "/logs"; }
  std::string LockPath() const { return root + "/run/supervisor.lock"; }
  std::string StatePath() const { return root + "/run/mesh.json"; }
  std::string AdminKeyPath() const { return root + "/admin.key"; }
  std::string Socket(const std::string& name) const {
    return "unix:" + root + "/run/" + name + ".sock";
  }

  // Makes the folders, mode 0700: the sockets in run/ are not for other users.
  absl::Status Create() const;
  // From --home, else $WEFT_HOME, else .weft in the working directory.
  static absl::StatusOr<Home> Find(const std::string& flag);
};

// What run/mesh.json says: written by the supervisor, read by `weftctl status`.
struct MeshState {
  int supervisor_pid = 0;
  std::string state;         // starting, ready, draining, stopped
  std::string rest_url;      // http://127.0.0.1:8080
  std::string grpc_address;  // 127.0.0.1:8081
  std::string admin_key_file;
  std::vector<ServiceStatus> services;
};

// Replaces the file in one piece. A full disk is an error that the caller may ignore.
absl::Status WriteState(const std::string& path, const MeshState& state);
absl::StatusOr<MeshState> ReadState(const std::string& path);
std::string StateJson(const MeshState& state);

}  // namespace weft::supervise
