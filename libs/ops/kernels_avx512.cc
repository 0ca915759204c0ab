// The avx512 kernels, and the set of the amx level, which differs in its products alone. This file
// alone is compiled with that level's options, and everything in it is a template over its own Simd
// type: no function of it can replace another file's copy at link time.
#include "libs/ops/attention_kernels.h"
#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/row_kernels.h"
#include "libs/ops/simd_avx512.h"

namespace weft::cpu {

void AmxMatmulRows(const MatmulArgs& args);  // kernels_amx.cc

extern const Kernels kAvx512Kernels;
extern const Kernels kAmxKernels;
constexpr Kernels kAvx512Set = {
    .isa = Isa::kAvx512,
    .matmul = Matmul<SimdAvx512>,
    .rms_norm = RmsNorm<SimdAvx512>,
    .add = Add<SimdAvx512>,
    .quantize = Quantize<SimdAvx512>,
    .layer_norm = LayerNorm<SimdAvx512>,
    .add_scaled = AddScaled<SimdAvx512>,
    .activate = ActivateAny<SimdAvx512>,
    .scale_and_cap = ScaleAndCap<SimdAvx512>,
    .softmax = Softmax<SimdAvx512>,
    .sigmoid = Sigmoid<SimdAvx512>,
    .rope_cache = RopeCache<SimdAvx512>,
    .attention = Attention<SimdAvx512>::Run,
};
constinit const Kernels kAvx512Kernels = kAvx512Set;
// The same set but for its products.
constinit const Kernels kAmxKernels = [] {
  Kernels kernels = kAvx512Set;
  kernels.isa = Isa::kAmx;
  kernels.matmul = AmxMatmulRows;
  return kernels;
}();

}  // namespace weft::cpu
