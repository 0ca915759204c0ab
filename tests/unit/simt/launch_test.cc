// Whole kernels as an author writes them: shapes, shared memory, shuffles, atomics, mma pipelines.
#include <cmath>
#include <random>
#include <vector>

#include "libs/device/ptx.h"
#include "tests/support/catch.h"

namespace weft::gpu {
namespace {

struct RmsNormParams {
  GlobalPtr<const Bf16> x;  // [rows, n]
  GlobalPtr<const Bf16> weight;
  GlobalPtr<Bf16> y;
  int n;
  float eps;
};

WEFT_DEVICE float WarpSum(float v) {
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}

WEFT_KERNEL(256, 1) void RmsNormKernel(const WEFT_PARAMS RmsNormParams p) {
  WEFT_SHARED(float, partial, 32);
  const GlobalPtr<const Bf16> x = p.x + static_cast<int64_t>(blockIdx.x) * p.n;
  const GlobalPtr<Bf16> y = p.y + static_cast<int64_t>(blockIdx.x) * p.n;
  float sum = 0;
  for (uint32_t i = threadIdx.x; i < static_cast<uint32_t>(p.n); i += blockDim.x) {
    const float v = ToFloat(x[i]);
    sum += v * v;
  }
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
  for (uint32_t i = 0; i < blockDim.x / 32; ++i) total += partial[i];
  const float scale = rsqrtf(total / static_cast<float>(p.n) + p.eps);
  for (uint32_t i = threadIdx.x; i < static_cast<uint32_t>(p.n); i += blockDim.x) {
    y[i] = FromFloat<Bf16>(ToFloat(x[i]) * scale * ToFloat(p.weight[i]));
  }
}

}  // namespace

TEST_CASE("An RMS norm kernel gives the CPU's numbers, coalesced and without a defect", "[simt]") {
  constexpr int kRows = 7;
  constexpr int kColumns = 1008;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<Bf16> x(kRows * kColumns);
  std::vector<Bf16> weight(kColumns);
  for (Bf16& v : x) v = FromFloat<Bf16>(normal(random));
  for (Bf16& v : weight) v = FromFloat<Bf16>(1 + 0.1f * normal(random));
  const simt::Buffer<Bf16> dx(x, "x");
  const simt::Buffer<Bf16> dw(weight, "weight");
  const simt::Buffer<Bf16> dy(x.size(), "y");
  const RmsNormParams params{dx.data(), dw.data(), dy.data(), kColumns, 1e-5f};
  const DeviceError error = Launch(RmsNormKernel, {kRows, 256, 0, "rms_norm"}, nullptr, params);
  INFO(simt::LastReport().Text());
  REQUIRE(error == cudaSuccess);
  CHECK(dy.IsWritten());
  const std::vector<Bf16> y = dy.Download();
  for (int r = 0; r < kRows; ++r) {
    double sum = 0;
    for (int i = 0; i < kColumns; ++i) {
      const double v = ToFloat(x[static_cast<size_t>(r * kColumns + i)]);
      sum += v * v;
    }
    const double scale = 1 / std::sqrt(sum / kColumns + 1e-5);
    for (int i = 0; i < kColumns; ++i) {
      const auto at = static_cast<size_t>(r * kColumns + i);
      const double want = ToFloat(x[at]) * scale * ToFloat(weight[static_cast<size_t>(i)]);
      REQUIRE(std::abs(ToFloat(y[at]) - want) <= 0.004 * std::abs(want) + 1e-6);
    }
  }
  CHECK(simt::LastReport().Coalescing() > 0.95);
  CHECK(simt::LastReport().BankConflicts() == 0);
}

}  // namespace weft::gpu
