// The one header that a kernel's source includes (beside ptx.h). nvcc sees CUDA; any other compiler
// sees the SIMT emulator (docs/simt.md), which runs the same source on the CPU and checks it.
//
// Kernels live in namespace weft::gpu, take one Params struct by value, and use CUDA's own names
// for threadIdx, __syncthreads, shuffles, votes, atomics and math. What differs:
//   WEFT_KERNEL(max_threads, min_blocks) void Name(const WEFT_PARAMS Params p)
//                       instead of __global__, __launch_bounds__ and __grid_constant__
//   WEFT_DEVICE float F(...)                        a function of kernels, always inlined
//   WEFT_UNROLL                                    before a loop: nvcc's #pragma unroll
//   GlobalPtr<T>, SharedPtr<T>                      T* under nvcc, checked pointers in the emulator
//   PtrCast<U>(p)                                   reinterpret_cast of such a pointer
//   WEFT_SHARED(T, name, count)                     a static __shared__ array
//   WEFT_DYNAMIC_SHARED(T, name)                    all dynamic shared memory, 1024-byte aligned
//   Launch(kernel, {grid, block, shared_bytes, "name"}, stream, params)   instead of <<<>>>
// With a GlobalPtr<T> p of a T that is not const, p[i] can be assigned to and read, not kept:
// write `T x = p[i]`, not `auto x = p[i]`. Elements are read and written whole.
#pragma once

#include "libs/device/number_types.h"

#ifdef __CUDACC__
#include "libs/device/kernel_cuda.h"
#else
#include "libs/device/simt/kernel_emulated.h"
#endif
