// Runs a program to its end and takes what it prints.
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <string>
#include <vector>

namespace weft::supervise {

struct Captured {
  int exit_code = 0;  // 128 + signal when it was killed
  std::string out;    // at most 4 MiB
  std::string err;
};

// argv[0] is a path. Blocks until the program ends; it is killed after `timeout`
// (DEADLINE_EXCEEDED). NOT_FOUND when it cannot be executed.
absl::StatusOr<Captured> Capture(const std::vector<std::string>& argv,
                                 std::chrono::milliseconds timeout);

}  // namespace weft::supervise
