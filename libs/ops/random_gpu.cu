// See random_gpu.h for what it does.
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/random_gpu.h"

namespace weft::gpu {

constexpr int kRandomThreads = 256;
constexpr uint64_t kMostBlocks = 1u << 20;

// Words of a block that are no random bits: halves at two places.
struct BlockWords {
  int32_t words;  // of a block; 0: plain bf16, -1: pairs of e4m3
  int32_t first;
  int32_t second;  // -1: none
  float first_value;
  float second_value;
};

struct RandomKernelParams {
  uint16_t* to;
  uint64_t words;
  uint64_t seed;
  BlockWords block;
  float spread;  // of bf16: uniform in (-spread, spread)
};

// splitmix64's finaliser.
WEFT_DEVICE uint64_t Hash(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

WEFT_KERNEL(kRandomThreads, 1) void RandomKernel(const WEFT_PARAMS RandomKernelParams p) {
  const GlobalPtr<uint16_t> to(p.to);
  const uint64_t apart = static_cast<uint64_t>(gridDim.x) * kRandomThreads;
  for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * kRandomThreads + threadIdx.x; i < p.words;
       i += apart) {
    const uint64_t bits = Hash(p.seed ^ i);
    uint32_t word = static_cast<uint32_t>(bits & 0xffffu);
    const float uniform = static_cast<float>(bits >> 40) * (1.0f / 8388608.0f) - 1.0f;
    if (p.block.words == 0) {
      word = __float_as_uint(uniform * p.spread) >> 16;
    } else if (p.block.words < 0) {
      const float other = static_cast<float>(bits & 0xffffffu) * (1.0f / 8388608.0f) - 1.0f;
      word = FromFloat<E4m3>(uniform * p.spread).bits |
             static_cast<uint32_t>(FromFloat<E4m3>(other * p.spread).bits) << 8;
    } else {
      const int32_t place = static_cast<int32_t>(i % static_cast<uint64_t>(p.block.words));
      if (place == p.block.first) word = FromFloat<Half>(p.block.first_value).bits;
      if (place == p.block.second) word = FromFloat<Half>(p.block.second_value).bits;
    }
    to[i] = static_cast<uint16_t>(word);
  }
}

bool CanMakeUp(DType type) {
  switch (type) {
    case DType::kBF16:
    case DType::kF8E4M3:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
    case DType::kQ4_K:
    case DType::kQ6_K:
      return true;
    default:
      return false;
  }
}

LaunchResult FillRandom(DType type, const RandomParams& p, void* stream) {
  const float s = p.deviation;
  // Uniform numbers of n values have a deviation of n / sqrt(12).
  BlockWords block{0, -1, -1, 0, 0};
  switch (type) {
    case DType::kF8E4M3:
      block.words = -1;
      break;
    case DType::kQ4_0:  // (q - 8) d
      block = {9, 0, -1, s / 4.6f, 0};
      break;
    case DType::kQ4_1:  // q d + m
      block = {10, 0, 1, s / 4.6f, -7.5f * s / 4.6f};
      break;
    case DType::kQ8_0:
      block = {17, 0, -1, s / 74.0f, 0};
      break;
    case DType::kQ4_K:  // q d scale - dmin min, both of 0..63
      block = {72, 0, 1, s / 340.0f, 7.5f * s / 340.0f};
      break;
    case DType::kQ6_K:  // (q - 32) d scale, of -128..127
      block = {105, 104, -1, s / 1370.0f, 0};
      break;
    default:
      break;
  }
  const uint64_t words = p.bytes / 2;
  const uint64_t blocks = (words + kRandomThreads - 1) / kRandomThreads;
  if (blocks == 0) return {};
  return Run(
      RandomKernel,
      {static_cast<uint32_t>(blocks < kMostBlocks ? blocks : kMostBlocks), kRandomThreads, 0,
       "random weights"},
      stream,
      RandomKernelParams{static_cast<uint16_t*>(p.to), words, p.seed, block, s * 1.7320508f});
}

}  // namespace weft::gpu
