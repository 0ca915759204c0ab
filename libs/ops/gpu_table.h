// The op table of an accelerator: the kernels of *_gpu.h bound to op_table.h. Which kind of device
// it drives is a matter of the kernels that are linked (weft::ops_gpu_cuda or
// weft::ops_gpu_emulated) and of the Device that the context has.
//
// Activations that products read are bf16, everything else fp32; K and V are F16, BF16 or FP8,
// a token's head contiguous. Weights stay in their file's blocks (Q4_0 Q4_1 Q8_0 Q4_K Q6_K) or
// bf16; all other types are rounded to bf16 when they are loaded. Sums have one order per row
// whatever the batch. Latent attention keeps latents in its pages, unlike the other tables.
#pragma once

#include "libs/ops/op_table.h"

namespace weft {

// Its context has a GpuContext as its device.
const OpTable& GpuOps();

}  // namespace weft
