// What a kernel's launcher answers. Plain data: nvcc compiles the launchers, and it sees no Abseil.
#pragma once

#include <cstdint>

namespace weft::gpu {

struct LaunchResult {
  const char* error = nullptr;  // the runtime's words; null when the launch was accepted
  const char* kernel = nullptr;
  uint32_t grid[3] = {};
  uint32_t block[3] = {};
  uint32_t shared_bytes = 0;
};

}  // namespace weft::gpu
