// The avx2 kernels. This file alone is compiled with that level's options, and everything in it is
// a template over its own Simd type: no function of it can replace another file's copy at link
// time.
#include "libs/ops/attention_kernels.h"
#include "libs/ops/avx2_panel.h"
#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/row_kernels.h"
#include "libs/ops/simd_avx2.h"

namespace weft::cpu {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = {
    .isa = Isa::kAvx2,
    .matmul = Avx2Matmul,
    .rms_norm = RmsNorm<SimdAvx2>,
    .add = Add<SimdAvx2>,
    .quantize = Quantize<SimdAvx2>,
    .layer_norm = LayerNorm<SimdAvx2>,
    .add_scaled = AddScaled<SimdAvx2>,
    .activate = ActivateAny<SimdAvx2>,
    .scale_and_cap = ScaleAndCap<SimdAvx2>,
    .softmax = Softmax<SimdAvx2>,
    .sigmoid = Sigmoid<SimdAvx2>,
    .rope_cache = RopeCache<SimdAvx2>,
    .attention = Attention<SimdAvx2>::Run,
};

}  // namespace weft::cpu
