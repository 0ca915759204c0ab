// See matmul_wgmma_gpu.h for the mathematics. Dynamic shared memory, for
// deploy/ci/check_kernels.py:
// occupancy: WgmmaMatmulKernel, shared 131072
#include "libs/device/ptx.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_wgmma_gpu.h"

namespace weft::gpu {

constexpr int kGroupThreads = 128;
constexpr int kConsumers = 2;
constexpr int kWgmmaThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kBlockRows = 64 * kConsumers;
constexpr int kBlockOutputs = 128;
constexpr int kDepth = 64;  // columns of a stage: 128 bytes, the swizzle's width
constexpr int kStages = 4;
constexpr int kTileBytes = 128 * kDepth * 2;
constexpr int kStageBytes = 2 * kTileBytes;

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
  WEFT_SHARED(uint64_t, full, kStages);
  WEFT_SHARED(uint64_t, empty, kStages);
  const int thread = static_cast<int>(threadIdx.x);
  const int group = thread / kGroupThreads;
  const int output = static_cast<int>(blockIdx.x) * kBlockOutputs;
  const int row = static_cast<int>(blockIdx.y) * kBlockRows;
  const int steps = (p.cols + kDepth - 1) / kDepth;
  if (thread == 0) {
    for (int s = 0; s < kStages; ++s) {
      MbarrierInit(full + s, 1);
      MbarrierInit(empty + s, kConsumers * kGroupThreads / kWarp);
    }
    FenceMbarrierInit();
  }
  __syncthreads();
  if (group == 0) {
    DecreaseRegisters<40>();
    if (thread != 0) return;
    for (int i = 0; i < steps; ++i) {
      const int stage = i % kStages;
      if (i >= kStages) MbarrierWait(empty + stage, (i / kStages - 1) & 1);
      MbarrierArriveExpect(full + stage, kStageBytes);
      const SharedPtr<uint8_t> tile = shared + stage * kStageBytes;
      TensorLoad(tile, p.x, full + stage, i * kDepth, row);
      TensorLoad(tile + kTileBytes, p.weights, full + stage, i * kDepth, output);
    }
    return;
  }
  IncreaseRegisters<232>();
  float d[kBlockOutputs / 2];
#pragma unroll
  for (int i = 0; i < kBlockOutputs / 2; ++i) d[i] = 0;
  const auto release = [&](int i) {
    if (Lane() == 0) MbarrierArrive(empty + i % kStages);
  };
  for (int i = 0; i < steps; ++i) {
    const int stage = i % kStages;
    MbarrierWait(full + stage, i / kStages & 1);
    const SharedPtr<uint8_t> tile = shared + stage * kStageBytes;
    const uint64_t a =
        MakeDescriptor(tile + (group - 1) * 64 * kDepth * 2, 16, 1024, Swizzle::k128);
    const uint64_t b = MakeDescriptor(tile + kTileBytes, 16, 1024, Swizzle::k128);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      WgmmaBf16<kBlockOutputs>(d, a + 2 * k, b + 2 * k, i > 0 || k > 0);
    }
    WgmmaCommit();
    WgmmaWait<1>();  // the tile before is multiplied
    if (i > 0) release(i - 1);
  }
  WgmmaWait<0>();
  const int first = row + (group - 1) * 64 + thread % kGroupThreads / kWarp * 16 + Lane() / 4;
#pragma unroll
  for (int j = 0; j < kBlockOutputs / 8; ++j) {
    const int n = output + 8 * j + 2 * (Lane() % 4);
    if (n >= p.outputs) continue;
    float2 bias = make_float2(0, 0);
    if (p.bias != nullptr) bias = PtrCast<const float2>(GlobalPtr<const float>(p.bias) + n)[0];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t r = first + 8 * half;
      if (r >= p.rows) continue;
      PtrCast<float2>(GlobalPtr<float>(p.out) + r * p.outputs + n)[0] =
          make_float2(d[4 * j + 2 * half] + bias.x, d[4 * j + 2 * half + 1] + bias.y);
    }
  }
#endif
}

namespace {

const char* MapOf(const void* from, int64_t rows, int64_t cols, TensorMap* map) {
  TensorMapShape shape;
  shape.type = TensorType::kBf16;
  shape.size[0] = static_cast<uint64_t>(cols);
  shape.size[1] = static_cast<uint64_t>(rows);
  shape.stride_bytes[1] = static_cast<uint64_t>(cols) * 2;
  shape.box[0] = kDepth;
  shape.box[1] = 128;
  shape.swizzle = Swizzle::k128;
  return MakeTensorMap(shape, from, map);
}

}  // namespace

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
  if (const char* error = MapOf(p.x, p.rows, p.cols, &params.x)) {
    return {.error = error, .kernel = kName};
  }
  if (const char* error = MapOf(p.weights, p.outputs, p.cols, &params.weights)) {
    return {.error = error, .kernel = kName};
  }
  return Run(WgmmaMatmulKernel,
             {dim3(static_cast<uint32_t>((p.outputs + kBlockOutputs - 1) / kBlockOutputs),
                   static_cast<uint32_t>((p.rows + kBlockRows - 1) / kBlockRows)),
              kWgmmaThreads, kStages * kStageBytes, kName},
             stream, params);
}

}  // namespace weft::gpu
