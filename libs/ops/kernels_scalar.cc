// The scalar kernels. This file alone is compiled with that level's options, and everything in it
// is a template over its own Simd type: no function of it can replace another file's copy at link
// time.
#include "libs/ops/attention_kernels.h"
#include "libs/ops/kernels.h"
#include "libs/ops/matmul_kernels.h"
#include "libs/ops/row_kernels.h"
#include "libs/ops/simd_scalar.h"

namespace weft::cpu {

extern const Kernels kScalarKernels;
const Kernels kScalarKernels = {
    .isa = Isa::kScalar,
    .matmul = Matmul<SimdScalar>,
    .rms_norm = RmsNorm<SimdScalar>,
    .add = Add<SimdScalar>,
    .quantize = Quantize<SimdScalar>,
    .layer_norm = LayerNorm<SimdScalar>,
    .add_scaled = AddScaled<SimdScalar>,
    .activate = ActivateAny<SimdScalar>,
    .scale_and_cap = ScaleAndCap<SimdScalar>,
    .softmax = Softmax<SimdScalar>,
    .sigmoid = Sigmoid<SimdScalar>,
    .rope_cache = RopeCache<SimdScalar>,
    .attention = Attention<SimdScalar>::Run,
};

}  // namespace weft::cpu
