#include "libs/ops/gpu_kernel.h"
#include "libs/ops/norm_gpu.h"
#include "libs/ops/quantize_parts_gpu.h"

namespace weft::gpu {

// Up to kVectors float4 of a row in every thread.
template <int kThreads, int kVectors>
struct RowInRegisters {
  float4 v[kVectors];

  WEFT_DEVICE static int At(int i) { return static_cast<int>(threadIdx.x) + i * kThreads; }

  WEFT_DEVICE void Load(GlobalPtr<const float> row, int vectors) {
    const GlobalPtr<const float4> from = PtrCast<const float4>(row);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      v[i] = At(i) < vectors ? from[At(i)] : make_float4(0, 0, 0, 0);
    }
  }

  // v = norm(v), all of it in every thread's part.
  template <bool kLayer>
  WEFT_DEVICE void Norm(GlobalPtr<const float> weight, GlobalPtr<const float> bias, float eps,
                        int width, SharedPtr<float> parts) {
    const int vectors = width / 4;
    const float count = static_cast<float>(width);
    if constexpr (kLayer) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
      const float mean = BlockSum<kThreads>(sum, parts) / count;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        if (At(i) >= vectors) continue;
        v[i] = make_float4(v[i].x - mean, v[i].y - mean, v[i].z - mean, v[i].w - mean);
      }
    }
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      squares += (v[i].x * v[i].x + v[i].y * v[i].y) + (v[i].z * v[i].z + v[i].w * v[i].w);
    }
    const float inverse = 1.0f / sqrtf(BlockSum<kThreads>(squares, parts) / count + eps);
    const GlobalPtr<const float4> weights = PtrCast<const float4>(weight);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (At(i) >= vectors) continue;
      const float4 w = weights[At(i)];
      v[i] = make_float4(v[i].x * inverse * w.x, v[i].y * inverse * w.y, v[i].z * inverse * w.z,
                         v[i].w * inverse * w.w);
      if constexpr (kLayer) {
        if (bias != nullptr) {
          const float4 b = PtrCast<const float4>(bias)[At(i)];
          v[i] = make_float4(v[i].x + b.x, v[i].y + b.y, v[i].z + b.z, v[i].w + b.w);
        }
      }
    }
  }
};

template <bool kLayer, int kThreads, int kVectors>
WEFT_KERNEL(kThreads)
void AddNormKernel(const AddNormParams p) {
  WEFT_SHARED(float, parts, kThreads / kWarp);
  const int vectors = p.width / 4;
  const int64_t row = blockIdx.x;
  const int64_t from = p.source == nullptr ? row : GlobalPtr<const int32_t>(p.source)[row];
  RowInRegisters<kThreads, kVectors> x;
  const GlobalPtr<float> x_row =
      GlobalPtr<float>(p.x) + from * (p.x_stride > 0 ? p.x_stride : p.width);
  x.Load(x_row, vectors);
  if (p.delta != nullptr) {
    RowInRegisters<kThreads, kVectors> delta;
    delta.Load(GlobalPtr<const float>(p.delta) + from * p.width, vectors);
    if (p.delta_weight != nullptr) {
      delta.template Norm<kLayer>(p.delta_weight, p.delta_bias, p.eps, p.width, parts);
    }
    const GlobalPtr<float4> sum = PtrCast<float4>(x_row);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (x.At(i) >= vectors) continue;
      const float4 d = delta.v[i];
      x.v[i] = make_float4(x.v[i].x + p.delta_scale * d.x, x.v[i].y + p.delta_scale * d.y,
                           x.v[i].z + p.delta_scale * d.z, x.v[i].w + p.delta_scale * d.w);
      sum[x.At(i)] = x.v[i];
    }
  }
  x.template Norm<kLayer>(p.weight, p.bias, p.eps, p.width, parts);
  if (p.out != nullptr) {
    const GlobalPtr<float4> out = PtrCast<float4>(GlobalPtr<float>(p.out) + row * p.width);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (x.At(i) < vectors) out[x.At(i)] = x.v[i];
    }
  }
  if (p.out_bf16 != nullptr) {
    const GlobalPtr<uint2> out = PtrCast<uint2>(GlobalPtr<uint16_t>(p.out_bf16) + row * p.width);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (x.At(i) >= vectors) continue;
      out[x.At(i)] = make_uint2(PackBf16x2(x.v[i].x, x.v[i].y), PackBf16x2(x.v[i].z, x.v[i].w));
    }
  }
  if (p.fp8.codes == nullptr) return;
  if (p.fp8.per_row == 0) {
    // 32 successive vectors are a warp's, and a group.
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      StoreFp8Group(p.fp8, row * vectors + x.At(i), x.At(i) < vectors, x.v[i]);
    }
    return;
  }
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (x.At(i) < vectors) largest = fmaxf(largest, LargestOf(x.v[i]));
  }
  const float scale = Fp8Scale(BlockLargest<kThreads>(largest, parts));
  const float inverse = __fdiv_rn(1.0f, scale);
  const GlobalPtr<uint32_t> codes =
      PtrCast<uint32_t>(GlobalPtr<uint8_t>(p.fp8.codes)) + row * vectors;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (x.At(i) < vectors) codes[x.At(i)] = Fp8Codes(x.v[i], inverse);
  }
  if (threadIdx.x == 0) GlobalPtr<float>(p.fp8.scales)[row] = scale;
}

namespace {

template <bool kLayer>
LaunchResult Dispatch(const AddNormParams& p, void* stream) {
  const dim3 grid(static_cast<uint32_t>(p.rows));
  if (p.width <= 256 * 4 * 4) {
    return Run(AddNormKernel<kLayer, 256, 4>, {grid, 256, 0, "add_norm"}, stream, p);
  }
  return Run(AddNormKernel<kLayer, 512, 8>, {grid, 512, 0, "add_norm_wide"}, stream, p);
}

}  // namespace

LaunchResult AddNorm(const AddNormParams& p, void* stream) {
  if (p.rows == 0) return {};
  if (p.width % 4 != 0 || p.width > kMaxNormWidth) return {.error = "width", .kernel = "add_norm"};
  if (p.fp8.codes != nullptr && p.fp8.per_row == 0 && p.width % kFp8Group != 0) {
    return {.error = "width of FP8", .kernel = "add_norm"};
  }
  return p.layer != 0 ? Dispatch<true>(p, stream) : Dispatch<false>(p, stream);
}

}  // namespace weft::gpu
