// See matmul_fp8_wgmma_gpu.h for the mathematics. Dynamic shared memory, for
// deploy/ci/check_kernels.py:
// occupancy: WgmmaFp8Kernel, shared 131072
#include "libs/ops/matmul_fp8_wgmma_gpu.h"
#include "libs/ops/wgmma_block_gpu.h"

namespace weft::gpu {

constexpr int kSlice = 128;

struct WgmmaFp8KernelParams {
  TensorMap x;
  TensorMap weights;
  const float* x_scales = nullptr;
  const float* channel = nullptr;
  const float* block = nullptr;
  const float* bias = nullptr;
  float* out = nullptr;
  int64_t outputs = 0;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t x_per_row = 0;
};

// The scales of a lane's two rows in a slice.
struct SliceScales {
  float v[2];
};
WEFT_DEVICE SliceScales ScalesOf(const WgmmaFp8KernelParams& p, int row, int slices, int slice) {
  float weight = 1.0f;
  if (p.block != nullptr) weight = GlobalPtr<const float>(p.block)[blockIdx.x * slices + slice];
  SliceScales scales;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t r = row + 8 * half;
    scales.v[half] = weight;
    if (p.x_per_row == 0 && r < p.rows) {
      scales.v[half] = weight * GlobalPtr<const float>(p.x_scales)[r * slices + slice];
    }
  }
  return scales;
}

WEFT_DEVICE void MultiplySlice(float (&d)[kWgmmaOutputs / 2], WgmmaStages::Operands of) {
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kSlice / 32; ++k) {
    WgmmaE4m3<kWgmmaOutputs>(d, of.a + 2 * k, of.b + 2 * k, k > 0);
  }
  WgmmaCommit();
}
WEFT_DEVICE void AddSlice(float (&total)[kWgmmaOutputs / 2], const float (&d)[kWgmmaOutputs / 2],
                          const SliceScales& scales) {
#pragma unroll
  for (int i = 0; i < kWgmmaOutputs / 2; ++i) {
    total[i] = __fmaf_rn(d[i], scales.v[i / 2 % 2], total[i]);
  }
}

WEFT_KERNEL(kWgmmaThreads, 1) void WgmmaFp8Kernel(const WEFT_PARAMS WgmmaFp8KernelParams p) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  WEFT_SHARED(uint64_t, full, kWgmmaStages);
  WEFT_SHARED(uint64_t, empty, kWgmmaStages);
  const int group = static_cast<int>(threadIdx.x) / kWgmmaGroup;
  const int output = static_cast<int>(blockIdx.x) * kWgmmaOutputs;
  const int block_row = static_cast<int>(blockIdx.y) * kWgmmaRows;
  const int slices = (p.cols + kSlice - 1) / kSlice;
  const WgmmaStages stages{shared, full, empty};
  stages.Init();
  if (group == 0) {
    DecreaseRegisters<40>();
    if (threadIdx.x == 0) stages.Produce(p.x, p.weights, slices, kSlice, block_row, output);
  } else {
    IncreaseRegisters<232>();
    const int consumer = group - 1;
    const int row = block_row + WgmmaRow(consumer);
    float total[kWgmmaOutputs / 2] = {};
    float d[kWgmmaOutputs / 2] = {};
    SliceScales scales = ScalesOf(p, row, slices, 0);
    for (int slice = 0; slice < slices; ++slice) {
      MultiplySlice(d, stages.Wait(slice, consumer));
      // The next ones come while the tensor cores work.
      const SliceScales next = ScalesOf(p, row, slices, slice + 1 < slices ? slice + 1 : slice);
      WgmmaWait<0>();
      stages.Release(slice);
      AddSlice(total, d, scales);
      scales = next;
    }
    float of_row[2] = {1, 1};
    if (p.x_per_row != 0) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t r = row + 8 * half;
        if (r < p.rows) of_row[half] = GlobalPtr<const float>(p.x_scales)[r];
      }
    }
    StoreWgmma(p.out, p.bias, p.outputs, p.rows, row, output, [&](int i) -> float {
      float value = total[i] * of_row[i / 2 % 2];
      if (p.channel != nullptr) {
        const int64_t n = output + i / 4 * 8 + 2 * (Lane() % 4) + i % 2;
        value *= GlobalPtr<const float>(p.channel)[n];
      }
      return value;
    });
  }
#endif
}

bool CanMultiplyFp8ByWgmma(const SkinnyFp8Params& p) {
  return p.experts.tiles == nullptr && p.cols % 16 == 0 && p.outputs % 2 == 0;
}

LaunchResult WgmmaFp8(const WgmmaFp8Params& params, void* stream) {
  const SkinnyFp8Params& of = params.product;
  constexpr const char* kName = "wgmma_fp8";
  if (of.rows == 0 || of.outputs == 0) return {};
  if (!CanMultiplyFp8ByWgmma(of) || (params.x.per_row == 0 && of.cols % kFp8Group != 0)) {
    return {.error = "shape", .kernel = kName};
  }
  WgmmaFp8KernelParams p;
  p.x_scales = params.x.scales;
  p.channel = of.channel;
  p.block = of.block;
  p.bias = of.bias;
  p.out = of.out;
  p.outputs = of.outputs;
  p.rows = of.rows;
  p.cols = static_cast<int32_t>(of.cols);
  p.x_per_row = params.x.per_row;
  const char* error = WgmmaMap(TensorType::kU8, params.x.codes, of.rows, of.cols, &p.x);
  if (error == nullptr) {
    error = WgmmaMap(TensorType::kU8, of.weights, of.outputs, of.cols, &p.weights);
  }
  if (error != nullptr) return {.error = error, .kernel = kName};
  return Run(
      WgmmaFp8Kernel,
      {WgmmaGrid(of.outputs, of.rows), kWgmmaThreads, kWgmmaStages * kWgmmaStageBytes, kName},
      stream, p);
}

}  // namespace weft::gpu
