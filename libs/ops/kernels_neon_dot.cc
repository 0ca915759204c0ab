// The products of the neon_dot level. This file alone is compiled with the dot-product extension,
// and everything in it is a template over its own Simd type: no function of it can replace another
// file's copy at link time.
#include "libs/ops/kernels.h"
#include "libs/ops/neon_matmul.h"

namespace weft::cpu {

void NeonDotMatmul(const MatmulArgs& args);
void NeonDotMatmul(const MatmulArgs& args) { NeonMatmul<NeonDot>::Run(args); }

}  // namespace weft::cpu
