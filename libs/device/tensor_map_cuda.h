// Tensor maps made by the driver, found at run time: no libcuda at link time.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

namespace weft::gpu {

using TensorMap = CUtensorMap;

// Null, or what went wrong.
inline const char* MakeTensorMap(const TensorMapShape& shape, const void* address, TensorMap* map) {
  if (const char* error = InvalidTensorMap(shape, reinterpret_cast<uint64_t>(address))) {
    return error;
  }
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                       &found) != cudaSuccess ||
      found != cudaDriverEntryPointSuccess) {
    return "the driver has no cuTensorMapEncodeTiled";
  }
  static constexpr CUtensorMapDataType kTypes[] = {
      CU_TENSOR_MAP_DATA_TYPE_UINT8, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      CU_TENSOR_MAP_DATA_TYPE_FLOAT16, CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
      CU_TENSOR_MAP_DATA_TYPE_INT32};
  static constexpr CUtensorMapSwizzle kSwizzles[] = {
      CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_SWIZZLE_64B,
      CU_TENSOR_MAP_SWIZZLE_32B};
  cuuint64_t sizes[5];
  cuuint64_t strides[5];
  cuuint32_t box[5];
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  for (uint32_t i = 0; i < shape.rank; ++i) {
    sizes[i] = shape.size[i];
    box[i] = shape.box[i];
    if (i > 0) strides[i - 1] = shape.stride_bytes[i];
  }
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  const CUresult result =
      encode(map, kTypes[static_cast<int>(shape.type)], shape.rank, const_cast<void*>(address),
             sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             kSwizzles[static_cast<int>(shape.swizzle)], CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? nullptr : "cuTensorMapEncodeTiled refused the shape";
}

}  // namespace weft::gpu
