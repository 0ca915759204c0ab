// The addresses behind a name.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <vector>

namespace weft::scheduler {

// "host:port" to gRPC targets ("10.0.0.7:7000", "[fd00::7]:7000"), sorted, without repetitions.
using Resolver = std::function<absl::StatusOr<std::vector<std::string>>(const std::string& name)>;

// Asks the system (its hosts file, its DNS servers). Blocks for as long as those take. UNAVAILABLE
// when the name has no address now.
absl::StatusOr<std::vector<std::string>> LookUpAddresses(const std::string& name);

}  // namespace weft::scheduler
