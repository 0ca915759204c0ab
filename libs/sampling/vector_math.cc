// Compiled with -O3 -ffp-contract=off -fno-trapping-math: the loops below vectorise, and since
// every operation is a single IEEE operation in a fixed order, any vector width gives the same
// bits.
#include "libs/sampling/vector_math.h"

#include <algorithm>
#include <bit>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Chosen once at load time. Clang 14 cannot clone, and resolvers run before sanitizers are up.
#define WEFT_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define WEFT_CLONES
#endif

namespace weft::sampling {
namespace {

constexpr size_t kLanes = 16;
constexpr float kNegInf = -std::numeric_limits<float>::infinity();

// exp(x) = 2^n * exp(r) with r in [-ln 2 / 2, ln 2 / 2]; Cody-Waite reduction in two parts, the
// polynomial of Cephes' expf (degree 5 for the tail of the series).
inline float ExpOne(float x) {
  constexpr float kLowest = -87.0F;
  const bool tiny = !(x >= kLowest);  // also NaN
  const float clamped = tiny ? 0.0F : x;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (clamped * 1.44269504F + kRound) - kRound;
  const float r = (clamped - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float e = (p * (r * r) + r) + 1.0F;
  const auto bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  const float scaled = e * std::bit_cast<float>(bits);
  return tiny ? 0.0F : scaled;
}

inline float ReduceLanes(const float* lanes) {
  float sum = 0.0F;
  for (size_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

// Calls f(i) for every index below n and adds the results: element i goes to lane i % 16 of its
// chunk, chunks add up in double in ascending order.
template <typename F>
inline double LaneSum(size_t n, F f) {
  double total = 0.0;
  for (size_t begin = 0; begin < n; begin += kSumChunk) {
    const size_t end = std::min(begin + kSumChunk, n);
    float lanes[kLanes] = {};
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += f(i + lane);
    }
    for (size_t lane = 0; i < end; ++i, ++lane) lanes[lane] += f(i);
    total += static_cast<double>(ReduceLanes(lanes));
  }
  return total;
}

}  // namespace

WEFT_CLONES MaxResult Max(std::span<const float> x) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, kNegInf);
  const float* data = x.data();
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    // `a > b ? a : b` keeps b when a is NaN.
    for (size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = data[i + lane] > lanes[lane] ? data[i + lane] : lanes[lane];
    }
  }
  for (; i < x.size(); ++i) lanes[0] = data[i] > lanes[0] ? data[i] : lanes[0];
  const float best = *std::max_element(lanes, lanes + kLanes);
  if (best == kNegInf) return {kNegInf, -1};
  const auto at = std::find(x.begin(), x.end(), best);
  return {best, static_cast<int32_t>(at - x.begin())};
}

float ExpNegative(float x) { return ExpOne(x); }

WEFT_CLONES double ExpShifted(std::span<const float> x, float max, float scale,
                              std::span<float> out) {
  const float* in = x.data();
  float* to = out.data();
  for (size_t i = 0; i < x.size(); ++i) to[i] = ExpOne((in[i] - max) * scale);
  return LaneSum(x.size(), [to](size_t i) { return to[i]; });
}

WEFT_CLONES double SumExpShifted(std::span<const float> x, float max) {
  const float* in = x.data();
  return LaneSum(x.size(), [in, max](size_t i) { return ExpOne(in[i] - max); });
}

WEFT_CLONES double Sum(std::span<const float> x) {
  const float* in = x.data();
  return LaneSum(x.size(), [in](size_t i) { return in[i]; });
}

WEFT_CLONES void BlockMax(std::span<const float> x, std::span<float> out) {
  const float* data = x.data();
  size_t block = 0;
  for (size_t begin = 0; begin < x.size(); begin += kMaxBlock, ++block) {
    float lanes[kLanes];
    std::fill_n(lanes, kLanes, kNegInf);
    if (begin + kMaxBlock <= x.size()) {
      for (size_t i = begin; i < begin + kMaxBlock; i += kLanes) {
        for (size_t lane = 0; lane < kLanes; ++lane) {
          lanes[lane] = data[i + lane] > lanes[lane] ? data[i + lane] : lanes[lane];
        }
      }
    } else {
      for (size_t i = begin; i < x.size(); ++i) lanes[0] = data[i] > lanes[0] ? data[i] : lanes[0];
    }
    float best = lanes[0];
    for (float lane : lanes) best = lane > best ? lane : best;
    out[block] = best;
  }
}

}  // namespace weft::sampling
