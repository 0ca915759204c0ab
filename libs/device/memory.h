// How much memory this process may still use.
#pragma once

#include <cstdint>
#include <string>

namespace weft {

struct AvailableMemory {
  uint64_t bytes = UINT64_MAX;  // what can be taken without swapping or being killed
  std::string limit = {};       // what says so: "MemAvailable of /proc/meminfo" or a cgroup's file
};

// The least of what the machine has left (MemAvailable) and what the control groups of this
// process, version 1 or 2, leave (limit less usage; cached file pages count as free). Files that
// are absent or odd are skipped; with none of them `bytes` stays the maximum. `root` stands for "/"
// in tests.
AvailableMemory ReadAvailableMemory(const std::string& root = "");

}  // namespace weft
