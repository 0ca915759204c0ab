#include "libs/ops/activate_gpu.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/quantize_parts_gpu.h"

namespace weft::gpu {

constexpr int kElementThreads = 256;

WEFT_DEVICE float ActivationOf(Activation kind, float x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1.0f + __expf(-x));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * 0.7071067812f));
  }
  return x;
}

WEFT_DEVICE float4 ActivatedAt(const ActivateParams& p, int64_t i) {
  const float4 up = PtrCast<const float4>(GlobalPtr<const float>(p.up))[i];
  if (p.gate == nullptr) {
    return make_float4(ActivationOf(p.kind, up.x), ActivationOf(p.kind, up.y),
                       ActivationOf(p.kind, up.z), ActivationOf(p.kind, up.w));
  }
  const float4 gate = PtrCast<const float4>(GlobalPtr<const float>(p.gate))[i];
  return make_float4(ActivationOf(p.kind, gate.x) * up.x, ActivationOf(p.kind, gate.y) * up.y,
                     ActivationOf(p.kind, gate.z) * up.z, ActivationOf(p.kind, gate.w) * up.w);
}
WEFT_DEVICE void StoreActivated(const ActivateParams& p, int64_t i, float4 y) {
  if (p.out != nullptr) PtrCast<float4>(GlobalPtr<float>(p.out))[i] = y;
  if (p.out_bf16 != nullptr) {
    PtrCast<uint2>(GlobalPtr<uint16_t>(p.out_bf16))[i] =
        make_uint2(PackBf16x2(y.x, y.y), PackBf16x2(y.z, y.w));
  }
}

WEFT_KERNEL(kElementThreads) void ActivateKernel(const ActivateParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  const bool there = i < p.elements / 4;
  float4 y = make_float4(0, 0, 0, 0);
  if (there) {
    y = ActivatedAt(p, i);
    StoreActivated(p, i, y);
  }
  if (p.fp8.codes != nullptr) StoreFp8Group(p.fp8, i, there, y);
}

// A block per row, whose largest value is found before anything is rounded.
WEFT_KERNEL(kElementThreads) void ActivateRowsKernel(const ActivateParams p) {
  WEFT_SHARED(float, parts, kElementThreads / kWarp);
  const int vectors = p.width / 4;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * vectors;
  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kElementThreads) {
    const float4 y = ActivatedAt(p, first + i);
    StoreActivated(p, first + i, y);
    largest = fmaxf(largest, LargestOf(y));
  }
  const float scale = Fp8Scale(BlockLargest<kElementThreads>(largest, parts));
  const float inverse = __fdiv_rn(1.0f, scale);
  const GlobalPtr<uint32_t> codes = PtrCast<uint32_t>(GlobalPtr<uint8_t>(p.fp8.codes)) + first;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kElementThreads) {
    codes[i] = Fp8Codes(ActivatedAt(p, first + i), inverse);
  }
  if (threadIdx.x == 0) GlobalPtr<float>(p.fp8.scales)[blockIdx.x] = scale;
}

LaunchResult Activate(const ActivateParams& p, void* stream) {
  if (p.elements == 0) return {};
  constexpr const char* kName = "activate";
  if (p.elements % 4 != 0) return {.error = "elements", .kernel = kName};
  if (p.fp8.codes != nullptr) {
    const int32_t of = p.fp8.per_row != 0 ? 4 : kFp8Group;
    if (p.width < 1 || p.width % of != 0 || p.elements % p.width != 0) {
      return {.error = "width of FP8", .kernel = kName};
    }
    if (p.fp8.per_row != 0) {
      return Run(ActivateRowsKernel,
                 {static_cast<uint32_t>(p.elements / p.width), kElementThreads, 0, "activate_rows"},
                 stream, p);
    }
  }
  const int64_t blocks = (p.elements / 4 + kElementThreads - 1) / kElementThreads;
  return Run(ActivateKernel, {static_cast<uint32_t>(blocks), kElementThreads, 0, kName}, stream, p);
}

WEFT_KERNEL(kElementThreads) void ScaleAndCapKernel(const ScaleAndCapParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (i >= p.elements) return;
  const GlobalPtr<float> x(p.x);
  const float scaled = p.scale * static_cast<float>(x[i]);
  x[i] = p.softcap > 0 ? p.softcap * tanhf(scaled / p.softcap) : scaled;
}

LaunchResult ScaleAndCap(const ScaleAndCapParams& p, void* stream) {
  if (p.elements == 0) return {};
  const int64_t blocks = (p.elements + kElementThreads - 1) / kElementThreads;
  return Run(ScaleAndCapKernel,
             {static_cast<uint32_t>(blocks), kElementThreads, 0, "scale_and_cap"}, stream, p);
}

}  // namespace weft::gpu
