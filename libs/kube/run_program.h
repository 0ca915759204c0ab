// A program that prints a credential.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

namespace weft::kube {

// Runs command[0], looked for on PATH, with "NAME=value" entries over this process' environment;
// its standard error is ours, its input empty. What it printed; UNAVAILABLE when it does not start,
// exits with another status than 0, or prints more than 1 MiB.
absl::StatusOr<std::string> RunProgram(const std::vector<std::string>& command,
                                       const std::vector<std::string>& environment);

}  // namespace weft::kube
