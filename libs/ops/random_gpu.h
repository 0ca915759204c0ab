// Weights out of nothing: matrices of a given type and spread that no file holds, made where they
// are used. For measurements of shapes whose files are too large to carry.
//
// Every 16-bit word of a matrix is a hash of its number and the seed, but for the scales of block
// formats, which are constants that give weights of about zero mean and the asked-for standard
// deviation. Bytes: those of the matrix, written once.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/tensor/dtype.h"

namespace weft::gpu {

// BF16, F8_E4M3 (scales that follow the codes become tiny numbers), Q4_0, Q4_1, Q8_0, Q4_K, Q6_K.
bool CanMakeUp(DType type);

struct RandomParams {
  void* to = nullptr;  // aligned to 256
  uint64_t bytes = 0;  // whole blocks
  uint64_t seed = 0;
  float deviation = 0;
};
LaunchResult FillRandom(DType type, const RandomParams& params, void* stream);

}  // namespace weft::gpu
