// Cases of asynchronous copies: cp.async, mbarriers with bulk copies, TMA. See primitive_cases.h.
#pragma once

#include "tests/support/primitive_case.h"

namespace weft::gpu::primitive {

// --- cp.async

WEFT_KERNEL(32) void CopyAsyncKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  const uint32_t i = threadIdx.x;
  CopyAsync<16>(tile + 4 * i, p.in + 4 * i);
  CopyAsync<8>(tile + 128 + 2 * i, p.in + 128 + 2 * i);
  CopyAsyncCommit();
  CopyAsync<4>(tile + 192 + i, p.in + 192 + i);
  CopyAsyncZeroFill<16>(tile + 224 + 4 * i, p.in + 224 + 4 * i, static_cast<int>(i % 5 * 4));
  CopyAsyncCommit();
  CopyAsyncWait<1>();
  __syncthreads();
  for (uint32_t k = 0; k < 192; k += 32) p.out[k + i] = tile[k + (i ^ 1)];
  CopyAsyncWait<0>();
  __syncthreads();
  for (uint32_t k = 192; k < 352; k += 32) p.out[k + i] = tile[k + (i ^ 1)];
}
inline std::vector<uint32_t> ExpectCopyAsync(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> tile = in;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t w = lane % 5; w < 4; ++w) tile[224 + 4 * lane + w] = 0;
  }
  std::vector<uint32_t> out(352);
  for (uint32_t i = 0; i < 352; ++i) out[i] = tile[i ^ 1];
  return out;
}

// --- mbarrier, bulk copies, TMA

WEFT_KERNEL(64) void BulkKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) {
    MbarrierInit(barrier, 1);
    FenceMbarrierInit();
  }
  __syncthreads();
  for (uint32_t phase = 0; phase < 2; ++phase) {
    if (threadIdx.x == 0) {
      MbarrierArriveExpect(barrier, 1024);
      BulkLoad(tile, p.in + 256 * phase, 1024, barrier);
    }
    MbarrierWait(barrier, phase);
    uint32_t v[4];
    for (uint32_t i = 0; i < 4; ++i) v[i] = tile[64 * i + (63 - threadIdx.x)];
    __syncthreads();
    for (uint32_t i = 0; i < 4; ++i) tile[64 * i + threadIdx.x] = v[i];
    FenceProxyAsync();
    __syncthreads();
    if (threadIdx.x == 0) {
      BulkStore(p.out + 256 * phase, tile, 1024);
      BulkCommit();
      BulkWaitRead<0>();
    }
    __syncthreads();
  }
}
inline std::vector<uint32_t> ExpectBulk(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(512);
  for (uint32_t i = 0; i < 512; ++i) out[i] = in[(i & ~63u) + 63 - i % 64];
  return out;
}

// The tile of 32 x 64 bf16 at (0, 8) of a tensor of 64 x 24: its last rows are outside. What lies
// in shared memory goes out as it is, swizzled.
WEFT_KERNEL(64) void TensorLoadKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) {
    MbarrierInit(barrier, 1);
    FenceMbarrierInit();
    TensorPrefetch(p.map);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    MbarrierArriveExpect(barrier, 4096);
    TensorLoad(tile, p.map, barrier, 0, 8);
  }
  MbarrierWait(barrier, 0);
  for (uint32_t i = threadIdx.x; i < 1024; i += 64) p.out[i] = tile[i];
}
template <Swizzle kSwizzle, uint32_t kRowWords>
std::vector<uint32_t> ExpectTensorLoad(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(1024);
  const uint32_t rows = 1024 / kRowWords;
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t w = 0; w < kRowWords; ++w) {
      const uint32_t at = SwizzleOffset(kSwizzle, (row * kRowWords + w) * 4) / 4;
      const uint32_t from = (row + 8) * kRowWords + w;
      out[at] = from < in.size() ? in[from] : 0;
    }
  }
  return out;
}
// The other way: words in shared memory, where the swizzle expects them, to a tile of the output.
WEFT_KERNEL(64) void TensorStoreKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  for (uint32_t i = threadIdx.x; i < 768; i += 64) {
    tile[SwizzleOffset(Swizzle::k128, 4 * i) / 4] = p.in[i];
  }
  for (uint32_t i = 768 + threadIdx.x; i < 1024; i += 64) tile[i] = 0;
  FenceProxyAsync();
  __syncthreads();
  if (threadIdx.x == 0) {
    TensorStore(p.store_map, tile, 0, 0);
    BulkCommit();
    BulkWait<0>();
  }
}
inline std::vector<uint32_t> ExpectSame(const std::vector<uint32_t>& in) { return in; }

}  // namespace weft::gpu::primitive
