// Rotary position embedding: the angles. Su et al. 2021, https://arxiv.org/abs/2104.09864
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libs/model/model_config.h"

namespace weft {

// Frequencies and angles are rounded to fp32, as in the models' training code; sines and cosines
// are our own in double, so that every machine has the same bits. Immutable; thread safe.
class RopeTable {
 public:
  RopeTable() = default;
  // `factors` is empty or divides each frequency.
  RopeTable(const ModelConfig& config, std::span<const float> factors);

  // out [rows, rope_dim]: of each position the cosines, then the sines.
  void Fill(std::span<const int32_t> positions, float* out) const;

 private:
  float scale_ = 1;
  std::vector<float> frequencies_;  // [rope_dim / 2]
};

// The error is below 1e-12 for |x| < 10^6 and below 1e-9 for |x| < 2^24: far finer than fp32.
void SinCos(double x, double* sine, double* cosine);

}  // namespace weft
