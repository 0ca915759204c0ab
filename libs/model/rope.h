// Rotary position embedding: the angles. Su et al. 2021, https://arxiv.org/abs/2104.09864
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "libs/model/model_config.h"

namespace weft {

// Frequencies and angles are rounded to fp32, as in the models' training code; sines and cosines
// are our own in double, so that every machine has the same bits. Immutable; thread safe.
//
// Scalings: linear (Chen et al. 2023, https://arxiv.org/abs/2306.15595), YaRN (Peng et al. 2023,
// https://arxiv.org/abs/2309.00071), LongRoPE (Ding et al. 2024, https://arxiv.org/abs/2402.13753),
// Llama 3's and dynamic NTK as Hugging Face's transformers define them. A row's angles depend on
// its own position only: dynamic NTK takes the position for the length of the text, which is what
// decoding token by token gives.
class RopeTable {
 public:
  enum class Layers { kAll, kSliding };  // kSliding: rope_base_sliding, without scaling

  // `factors` is empty or divides each frequency.
  RopeTable(const ModelConfig& config, std::span<const float> factors, Layers layers);

  // out [rows, rope_dim]: of each position the cosines, then the sines.
  void Fill(std::span<const int32_t> positions, float* out) const;

  float magnitude() const { return magnitude_; }  // of cosines and sines

 private:
  void ScaleLlama3(const RopeScaling& scaling, double original);
  void ScaleYarn(const RopeScaling& scaling, double original);

  int32_t pairs_ = 0;
  double log_base_ = 0;
  float position_scale_ = 1;        // positions are divided by it
  float magnitude_ = 1;             // of cosines and sines
  std::vector<float> frequencies_;  // [pairs]
  // Dynamic NTK: past this position, the base is multiplied. 0: never.
  int32_t dynamic_from_ = 0;
  double dynamic_factor_ = 1;
};

// [rope_dim / 2] what Llama 3's scaling divides each frequency by: GGUF's rope_freqs.weight.
std::vector<float> Llama3Factors(const ModelConfig& config);

// The error is below 1e-12 for |x| < 10^6 and below 1e-9 for |x| < 2^24: far finer than fp32.
void SinCos(double x, double* sine, double* cosine);

}  // namespace weft
