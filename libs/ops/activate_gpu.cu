#include "libs/ops/activate_gpu.h"
#include "libs/ops/gpu_kernel.h"

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

WEFT_KERNEL(kElementThreads) void ActivateKernel(const ActivateParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (i >= p.elements / 4) return;
  const float4 up = PtrCast<const float4>(GlobalPtr<const float>(p.up))[i];
  float4 y;
  if (p.gate != nullptr) {
    const float4 gate = PtrCast<const float4>(GlobalPtr<const float>(p.gate))[i];
    y = make_float4(ActivationOf(p.kind, gate.x) * up.x, ActivationOf(p.kind, gate.y) * up.y,
                    ActivationOf(p.kind, gate.z) * up.z, ActivationOf(p.kind, gate.w) * up.w);
  } else {
    y = make_float4(ActivationOf(p.kind, up.x), ActivationOf(p.kind, up.y),
                    ActivationOf(p.kind, up.z), ActivationOf(p.kind, up.w));
  }
  if (p.out != nullptr) PtrCast<float4>(GlobalPtr<float>(p.out))[i] = y;
  if (p.out_bf16 != nullptr) {
    PtrCast<uint2>(GlobalPtr<uint16_t>(p.out_bf16))[i] =
        make_uint2(PackBf16x2(y.x, y.y), PackBf16x2(y.z, y.w));
  }
}

LaunchResult Activate(const ActivateParams& p, void* stream) {
  if (p.elements == 0) return {};
  if (p.elements % 4 != 0) return {.error = "elements", .kernel = "activate"};
  const int64_t blocks = (p.elements / 4 + kElementThreads - 1) / kElementThreads;
  return Run(ActivateKernel, {static_cast<uint32_t>(blocks), kElementThreads, 0, "activate"},
             stream, p);
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
