// The kinds of norm, activation and expert scoring that model families differ in, and of cache
// elements.
#pragma once

#include <cstdint>

namespace weft {

enum class NormKind : uint8_t {
  kRms,    // x / sqrt(mean(x^2) + eps) * weight
  kLayer,  // (x - mean) / sqrt(variance + eps) * weight + bias
};

enum class Activation : uint8_t {
  kSilu,      // x / (1 + e^-x)
  kGeluTanh,  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  kGelu,      // 0.5 x (1 + erf(x / sqrt(2)))
};

// How the kernels find cached keys and values (kv_page.h).
enum class KvElement : uint8_t { kHalf, kBfloat, kScaledByte };

// What makes a router's logits probabilities.
enum class ExpertScoring : uint8_t {
  kSoftmax,  // over all experts
  kSigmoid,  // each by itself
};

}  // namespace weft
