// cuBLASLt as a ProductLibrary, found at run time: a machine without it uses the own kernels. Only
// in builds with CUDA.
//
// Its matrices are column-major, so out^T [outputs, rows] = w^T' x^T is asked for: A is the
// weights, transposed, B is x. F8_E4M3 uses a scale for each output and each row (CUBLASLT's
// OUTER_VEC_32F); scales of 128 x 128 blocks stay with the own kernel (matmul_fp8_wgmma_gpu.h),
// whose activations' scales lie as quantize_gpu.h writes them.
#pragma once

#include <absl/status/statusor.h>

#include <memory>

#include "libs/device/device.h"
#include "libs/ops/product_library.h"

namespace weft::gpu {

// UNAVAILABLE, with what was looked for, when the library is not there or lacks a function.
absl::StatusOr<std::unique_ptr<ProductLibrary>> OpenCublasLt(Device& device);

}  // namespace weft::gpu
