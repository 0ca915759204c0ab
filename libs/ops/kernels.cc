#include "libs/ops/kernels.h"

namespace weft::cpu {

extern const Kernels kScalarKernels;
#if defined(WEFT_X86_KERNELS)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAmxKernels;
#elif defined(WEFT_NEON_KERNELS)
extern const Kernels kNeonKernels;
extern const Kernels kNeonDotKernels;
#endif

const Kernels& GetKernels(Isa isa) {
#if defined(WEFT_X86_KERNELS)
  if (isa == Isa::kAmx) return kAmxKernels;
  if (isa == Isa::kAvx512) return kAvx512Kernels;
  if (isa == Isa::kAvx2) return kAvx2Kernels;
#elif defined(WEFT_NEON_KERNELS)
  if (isa == Isa::kNeonDot) return kNeonDotKernels;
  if (isa == Isa::kNeon) return kNeonKernels;
#endif
  (void)isa;
  return kScalarKernels;
}

}  // namespace weft::cpu
