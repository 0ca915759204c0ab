// See matmul_wgmma_gpu.h for the mathematics. Dynamic shared memory, for
// deploy/ci/check_kernels.py:
// occupancy: WgmmaMatmulKernel, shared 131072
#include "libs/ops/matmul_wgmma_gpu.h"
#include "libs/ops/wgmma_block_gpu.h"

namespace weft::gpu {

constexpr int kDepth = 64;  // columns of a stage: 128 bytes, the swizzle's width

struct WgmmaParams {
  TensorMap x;
  TensorMap weights;
  const float* bias = nullptr;
  float* out = nullptr;
  int64_t outputs = 0;
  int32_t rows = 0;
  int32_t cols = 0;
};

WEFT_KERNEL(kWgmmaThreads, 1) void WgmmaMatmulKernel(const WEFT_PARAMS WgmmaParams p) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  WEFT_SHARED(uint64_t, full, kWgmmaStages);
  WEFT_SHARED(uint64_t, empty, kWgmmaStages);
  const int group = static_cast<int>(threadIdx.x) / kWgmmaGroup;
  const int output = static_cast<int>(blockIdx.x) * kWgmmaOutputs;
  const int row = static_cast<int>(blockIdx.y) * kWgmmaRows;
  const int steps = (p.cols + kDepth - 1) / kDepth;
  const WgmmaStages stages{shared, full, empty};
  stages.Init();
  if (group == 0) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) stages.Produce(p.x, p.weights, steps, kDepth, row, output);
  } else {
    IncreaseRegisters<232>();
    float d[kWgmmaOutputs / 2] = {};
    for (int i = 0; i < steps; ++i) {
      const WgmmaStages::Operands of = stages.Wait(i, group - 1);
      WgmmaFence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k) {
        WgmmaBf16<kWgmmaOutputs>(d, of.a + 2 * k, of.b + 2 * k, i > 0 || k > 0);
      }
      WgmmaCommit();
      WgmmaWait<1>();  // the tile before is multiplied
      if (i > 0) stages.Release(i - 1);
    }
    WgmmaWait<0>();
    StoreWgmma(p.out, p.bias, p.outputs, p.rows, row + WgmmaRow(group - 1), output,
               [&](int i) -> float { return d[i]; });
  }
#endif
}

bool CanMultiplyByWgmma(DType type, const SkinnyParams& p) {
  return type == DType::kBF16 && p.experts.tiles == nullptr && p.cols % 8 == 0 &&
         p.outputs % 2 == 0;
}

LaunchResult WgmmaMatmul(const SkinnyParams& p, void* stream) {
  if (p.rows == 0 || p.outputs == 0) return {};
  constexpr const char* kName = "wgmma_matmul";
  if (!CanMultiplyByWgmma(DType::kBF16, p)) return {.error = "shape", .kernel = kName};
  WgmmaParams params;
  params.bias = p.bias;
  params.out = p.out;
  params.outputs = p.outputs;
  params.rows = p.rows;
  params.cols = static_cast<int32_t>(p.cols);
  if (const char* error = WgmmaMap(TensorType::kBf16, p.x, p.rows, p.cols, &params.x)) {
    return {.error = error, .kernel = kName};
  }
  if (const char* error =
          WgmmaMap(TensorType::kBf16, p.weights, p.outputs, p.cols, &params.weights)) {
    return {.error = error, .kernel = kName};
  }
  return Run(WgmmaMatmulKernel,
             {WgmmaGrid(p.outputs, p.rows), kWgmmaThreads, kWgmmaStages * kWgmmaStageBytes, kName},
             stream, params);
}

}  // namespace weft::gpu
