#include "libs/ops/quantize_gpu.h"
#include "libs/ops/quantize_parts_gpu.h"

namespace weft::gpu {

constexpr int kQuantizeThreads = 256;

WEFT_DEVICE float4 FourOf(GlobalPtr<const uint16_t> row, int i) {
  const uint2 bits = PtrCast<const uint2>(row)[i];
  return make_float4(ToFloat(Bf16{static_cast<uint16_t>(bits.x)}),
                     ToFloat(Bf16{static_cast<uint16_t>(bits.x >> 16)}),
                     ToFloat(Bf16{static_cast<uint16_t>(bits.y)}),
                     ToFloat(Bf16{static_cast<uint16_t>(bits.y >> 16)}));
}

WEFT_KERNEL(kQuantizeThreads) void QuantizeKernel(const QuantizeParams p) {
  WEFT_SHARED(float, parts, kQuantizeThreads / kWarp);
  const int64_t row = blockIdx.x;
  const int vectors = p.width / 4;
  const GlobalPtr<const uint16_t> from = GlobalPtr<const uint16_t>(p.x) + row * p.width;
  if (p.out.per_row == 0) {
    for (int base = WarpId() * kWarp; base < vectors; base += kQuantizeThreads) {
      StoreFp8Group(p.out, row * vectors + base + Lane(), true, FourOf(from, base + Lane()));
    }
    return;
  }
  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kQuantizeThreads) {
    largest = fmaxf(largest, LargestOf(FourOf(from, i)));
  }
  const float scale = Fp8Scale(BlockLargest<kQuantizeThreads>(largest, parts));
  const float inverse = __fdiv_rn(1.0f, scale);
  const GlobalPtr<uint32_t> out =
      PtrCast<uint32_t>(GlobalPtr<uint8_t>(p.out.codes)) + row * vectors;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kQuantizeThreads) {
    out[i] = Fp8Codes(FourOf(from, i), inverse);
  }
  if (threadIdx.x == 0) GlobalPtr<float>(p.out.scales)[row] = scale;
}

LaunchResult QuantizeFp8(const QuantizeParams& p, void* stream) {
  if (p.rows == 0) return {};
  constexpr const char* kName = "quantize_fp8";
  if (p.width % (p.out.per_row != 0 ? 4 : kFp8Group) != 0) {
    return {.error = "width", .kernel = kName};
  }
  return Run(QuantizeKernel, {static_cast<uint32_t>(p.rows), kQuantizeThreads, 0, kName}, stream,
             p);
}

}  // namespace weft::gpu
