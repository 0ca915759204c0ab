// A narrow client of the Kubernetes API: objects as JSON, by path.
#pragma once

#include <absl/status/statusor.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "libs/kube/config.h"

namespace weft::kube {

// How a patch is merged: lists replace lists, or lists of named things merge by their names.
enum class Merge { kPlain, kStrategic };

// Thread safe. Every call is one request and blocks for 30 s at most. Errors: NOT_FOUND,
// ALREADY_EXISTS, ABORTED (the object changed meanwhile), PERMISSION_DENIED, UNAUTHENTICATED,
// INVALID_ARGUMENT (the server refuses the object), UNAVAILABLE and DEADLINE_EXCEEDED (worth
// another try), CANCELLED. Messages hold the server's own words.
class Client {
 public:
  explicit Client(Access access, const std::atomic<bool>* cancel = nullptr);

  const std::string& name_space() const { return access_.name_space; }

  // `path` with its query, such as /apis/apps/v1/namespaces/weft/deployments/weft-gateway.
  absl::StatusOr<nlohmann::json> Get(std::string_view path) const;
  absl::StatusOr<nlohmann::json> Create(std::string_view path, const nlohmann::json& object) const;
  absl::StatusOr<nlohmann::json> Patch(std::string_view path, const nlohmann::json& patch,
                                       Merge merge = Merge::kPlain) const;
  // What it owns goes first ("Foreground"). One that is not there is no error.
  absl::Status Delete(std::string_view path) const;

 private:
  absl::StatusOr<nlohmann::json> Call(const char* method, std::string_view path,
                                      const nlohmann::json* body, const char* type) const;

  const Access access_;
  const std::atomic<bool>* const cancel_;
};

}  // namespace weft::kube
