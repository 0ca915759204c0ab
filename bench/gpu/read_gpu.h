// A kernel that only reads: the roof of all others, timed in the same run.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

struct ReadParams {
  const void* from = nullptr;  // 16-byte aligned
  uint64_t bytes = 0;          // a multiple of 16
  uint32_t* sum = nullptr;     // written to where the sum of all words is 1: practically never
  int32_t blocks = 0;
};
LaunchResult Read(const ReadParams& params, void* stream);

}  // namespace weft::gpu
