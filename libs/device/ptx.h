// What kernels need PTX for, one function a primitive; kernels hold no inline assembly. Under nvcc
// each is the instruction (ptx_cuda.h, wgmma_cuda.h), elsewhere its emulated twin (simt/ptx_*.h).
// Fragment and shared-memory layouts: PTX ISA 8.8, "Warp Level Matrix Multiply-Accumulate",
// "Asynchronous Warpgroup Level Matrix", "Asynchronous copy", "mbarrier". docs/simt.md lists which
// twins have been compared with a GPU.
//
// g = lane / 4, t = lane % 4 below. All threads of a warp call a warp's primitive together.
//
// Warp matrices (sm_80; e4m3: sm_89). D += A B; A row-major, B column-major.
//   MmaBf16 / MmaHalf(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])     m16n8k16
//   MmaS8(int32_t (&d)[4], a, b) / MmaE4m3(float (&d)[4], a, b)                          m16n8k32
//     a[0] row g, a[1] row g + 8, k from 0; a[2], a[3] the same rows, k from half of K; b[0] column
//     g, k from 0; b[1] k from half. A register holds the elements at k = t * (elements in 32 bits)
//     and up. d[0], d[1]: row g, columns 2 t, 2 t + 1; d[2], d[3]: row g + 8.
//   LoadMatrix(uint32_t (&r)[N], SharedPtr<T> row)    N = 1, 2, 4 matrices of 8 rows of 16 bytes;
//     lane 8 i + j gives the address of row j of matrix i (16-byte aligned); r[i] is the pair 2 t,
//     2 t + 1 of row g. LoadMatrixTrans: pair of rows 2 t, 2 t + 1 of column g.
//   StoreMatrix(SharedPtr<T> row, const uint32_t (&r)[N]), StoreMatrixTrans: the inverse (sm_90).
//
// Asynchronous copies of 4, 8 or 16 bytes a thread (sm_80)
//   CopyAsync<16>(SharedPtr<T> to, GlobalPtr<const U> from)            aligned to their size
//   CopyAsyncZeroFill<16>(to, from, int bytes)     only `bytes` of them are read, the rest is zero
//   CopyAsyncCommit(), CopyAsyncWait<N>()          all but the latest N groups of this thread
//
// Barriers of `threads` (a multiple of 32) of the block: id 1 to 15 (0 is __syncthreads)
//   NamedBarrierSync(id, threads), NamedBarrierArrive(id, threads)
//
// mbarrier (sm_90), 8 bytes of shared memory, 8-byte aligned
//   MbarrierInit(SharedPtr<uint64_t>, arrivals), FenceMbarrierInit() before others use it
//   MbarrierArrive(b), MbarrierArriveExpect(b, bytes), MbarrierExpect(b, bytes)
//   bool MbarrierTryWait(b, parity), MbarrierWait(b, parity)      until the phase of that parity is
//     over; the first phase has parity 0
//   CopyAsyncArrive(b)    arrives when this thread's cp.asyncs so far are done (counted: .noinc)
//
// Bulk copies by one thread (sm_90). Addresses and sizes are multiples of 16 bytes.
//   BulkLoad(SharedPtr<T> to, GlobalPtr<const U> from, bytes, SharedPtr<uint64_t> barrier)
//   BulkStore(GlobalPtr<T> to, SharedPtr<U> from, bytes)
//   TensorLoad(SharedPtr<T> to, const TensorMap& map, SharedPtr<uint64_t> barrier, c0 [, ... c4])
//   TensorStore(const TensorMap& map, SharedPtr<T> from, c0 [, ... c4])      c0: fastest dimension
//   TensorReduceAdd(map, from, c0 [, ... c4]), TensorPrefetch(map)
//   BulkCommit(), BulkWait<N>() until written, BulkWaitRead<N>() until shared memory can be reused
//   FenceProxyAsync()  between plain accesses to shared memory and bulk copies or wgmma of it
//   A TensorMap is a kernel parameter: pass it in the Params struct (tensor_map.h makes them).
//
// Warpgroup matrices (sm_90a): M = 64, called by 128 threads, A and B in shared memory
//   WgmmaBf16<N, kTransA, kTransB>(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate)
//   WgmmaHalf the same; WgmmaE4m3<N>(float ...), WgmmaS8<N>(int32_t ...) K-major only
//   The same with `const uint32_t (&a)[4]` for a: A's fragment as for Mma, warp w holds rows 16 w.
//     d[4 j + i]: as Mma's d[i] for columns 8 j and up, rows 16 w and up.
//   MakeDescriptor(SharedPtr<T> tile, leading_bytes, stride_bytes, Swizzle)
//   WgmmaFence() before the first, WgmmaCommit(), WgmmaWait<N>(). d is untouched until waited for.
//
// Other
//   bool ElectOne()                         true in one lane of the full warp
//   IncreaseRegisters<N>(), DecreaseRegisters<N>()   setmaxnreg, by a warpgroup
//   uint32_t LoadAcquire(GlobalPtr<uint32_t>), StoreRelease(p, v), uint32_t AddRelease(p, v): gpu
//   scope float Exp2Approx(float), TanhApprox(float), ReciprocalApprox(float) DependencyWait(),
//   DependencyTrigger()   programmatic dependent launch
#pragma once

#include "libs/device/kernel.h"
#include "libs/device/tensor_map.h"

#ifdef __CUDACC__
#include "libs/device/ptx_cuda.h"
#include "libs/device/wgmma_cuda.h"
#else
#include "libs/device/simt/ptx_copy.h"
#include "libs/device/simt/ptx_matrix.h"
#include "libs/device/simt/ptx_sync.h"
#include "libs/device/simt/ptx_wgmma.h"
#endif
