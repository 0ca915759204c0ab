// Loops over a vocabulary of logits with results that are the same bits on every machine: own exp,
// sums in a fixed order over sixteen lanes, no fused multiply-add.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::sampling {

// The largest value and its lowest index. NaN counts as -infinity. {-infinity, -1} when empty or
// when there is nothing above -infinity.
struct MaxResult {
  float value;
  int32_t index;
};
MaxResult Max(std::span<const float> x);

// exp(x) for x <= 0 within 2 ulp; 0 below -87 and for NaN.
float ExpNegative(float x);

// out[i] = ExpNegative((x[i] - max) * scale). Returns the sum.
double ExpShifted(std::span<const float> x, float max, float scale, std::span<float> out);

// The sum of ExpNegative(x[i] - max) without storing it.
double SumExpShifted(std::span<const float> x, float max);

// The sum of x[i] in the order of the sums above, which add up chunks of kSumChunk values.
inline constexpr size_t kSumChunk = 512;
double Sum(std::span<const float> x);

// out[b] = the largest of x[64 b, 64 b + 64); NaN counts as -infinity.
inline constexpr size_t kMaxBlock = 64;
void BlockMax(std::span<const float> x, std::span<float> out);

}  // namespace weft::sampling
