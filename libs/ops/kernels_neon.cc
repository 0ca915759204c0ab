// The neon kernels, and the sets of the levels above it, which differ in their products alone. This
// file needs no options of its own: NEON is in every 64-bit ARM processor.
#include "libs/ops/attention_kernels.h"
#include "libs/ops/kernels.h"
#include "libs/ops/neon_matmul.h"
#include "libs/ops/row_kernels.h"
#include "libs/ops/simd_neon.h"

namespace weft::cpu {

void NeonDotMatmul(const MatmulArgs& args);  // kernels_neon_dot.cc

extern const Kernels kNeonKernels;
extern const Kernels kNeonDotKernels;
constexpr Kernels kNeonSet = {
    .isa = Isa::kNeon,
    .matmul = NeonMatmul<NeonPlain>::Run,
    .rms_norm = RmsNorm<NeonPlain>,
    .add = Add<NeonPlain>,
    .quantize = Quantize<NeonPlain>,
    .layer_norm = LayerNorm<NeonPlain>,
    .add_scaled = AddScaled<NeonPlain>,
    .activate = ActivateAny<NeonPlain>,
    .scale_and_cap = ScaleAndCap<NeonPlain>,
    .softmax = Softmax<NeonPlain>,
    .sigmoid = Sigmoid<NeonPlain>,
    .rope_cache = RopeCache<NeonPlain>,
    .attention = Attention<NeonPlain>::Run,
};
constexpr Kernels With(Isa isa, void (*matmul)(const MatmulArgs&)) {
  Kernels kernels = kNeonSet;
  kernels.isa = isa;
  kernels.matmul = matmul;
  return kernels;
}
constinit const Kernels kNeonKernels = kNeonSet;
constinit const Kernels kNeonDotKernels = With(Isa::kNeonDot, NeonDotMatmul);

}  // namespace weft::cpu
