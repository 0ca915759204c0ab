// ptx.h's primitives as PTX instructions, all but wgmma. See ptx.h for their contracts.
#pragma once

#include <cstdint>

namespace weft::gpu {

namespace ptx_internal {
WEFT_DEVICE uint32_t Address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}
}  // namespace ptx_internal

// --- Warp matrices
// --------------------------------------------------------------------------------

#define WEFT_MMA(name, T, constraint, shape_and_types)                                \
  WEFT_DEVICE void name(T(&d)[4], const uint32_t(&a)[4], const uint32_t(&b)[2]) {     \
    asm volatile("mma.sync.aligned." shape_and_types                                  \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"             \
                 : "+" constraint(d[0]), "+" constraint(d[1]), "+" constraint(d[2]),  \
                   "+" constraint(d[3])                                               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
  }
WEFT_MMA(MmaBf16, float, "f", "m16n8k16.row.col.f32.bf16.bf16.f32")
WEFT_MMA(MmaHalf, float, "f", "m16n8k16.row.col.f32.f16.f16.f32")
WEFT_MMA(MmaS8, int32_t, "r", "m16n8k32.row.col.s32.s8.s8.s32")
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
WEFT_MMA(MmaE4m3, float, "f", "m16n8k32.row.col.f32.e4m3.e4m3.f32")
#endif
#undef WEFT_MMA

#define WEFT_LOAD_MATRIX(name, suffix)                                                       \
  template <int N, typename T>                                                               \
  WEFT_DEVICE void name(uint32_t(&r)[N], SharedPtr<T> row) {                                 \
    static_assert(N == 1 || N == 2 || N == 4);                                               \
    const uint32_t at = ptx_internal::Address(row);                                          \
    if constexpr (N == 1) {                                                                  \
      asm volatile("ldmatrix.sync.aligned.m8n8.x1" suffix ".shared.b16 {%0}, [%1];"          \
                   : "=r"(r[0])                                                              \
                   : "r"(at)                                                                 \
                   : "memory");                                                              \
    } else if constexpr (N == 2) {                                                           \
      asm volatile("ldmatrix.sync.aligned.m8n8.x2" suffix ".shared.b16 {%0,%1}, [%2];"       \
                   : "=r"(r[0]), "=r"(r[1])                                                  \
                   : "r"(at)                                                                 \
                   : "memory");                                                              \
    } else {                                                                                 \
      asm volatile("ldmatrix.sync.aligned.m8n8.x4" suffix ".shared.b16 {%0,%1,%2,%3}, [%4];" \
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                          \
                   : "r"(at)                                                                 \
                   : "memory");                                                              \
    }                                                                                        \
  }
WEFT_LOAD_MATRIX(LoadMatrix, "")
WEFT_LOAD_MATRIX(LoadMatrixTrans, ".trans")
#undef WEFT_LOAD_MATRIX

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define WEFT_STORE_MATRIX(name, suffix)                                                           \
  template <int N, typename T>                                                                    \
  WEFT_DEVICE void name(SharedPtr<T> row, const uint32_t(&r)[N]) {                                \
    static_assert(N == 1 || N == 2 || N == 4);                                                    \
    const uint32_t at = ptx_internal::Address(row);                                               \
    if constexpr (N == 1) {                                                                       \
      asm volatile("stmatrix.sync.aligned.m8n8.x1" suffix ".shared.b16 [%0], {%1};" ::"r"(at),    \
                   "r"(r[0])                                                                      \
                   : "memory");                                                                   \
    } else if constexpr (N == 2) {                                                                \
      asm volatile("stmatrix.sync.aligned.m8n8.x2" suffix ".shared.b16 [%0], {%1,%2};" ::"r"(at), \
                   "r"(r[0]), "r"(r[1])                                                           \
                   : "memory");                                                                   \
    } else {                                                                                      \
      asm volatile("stmatrix.sync.aligned.m8n8.x4" suffix                                         \
                   ".shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at),                                  \
                   "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])                                     \
                   : "memory");                                                                   \
    }                                                                                             \
  }
WEFT_STORE_MATRIX(StoreMatrix, "")
WEFT_STORE_MATRIX(StoreMatrixTrans, ".trans")
#undef WEFT_STORE_MATRIX
#endif

// --- Asynchronous copies
// --------------------------------------------------------------------------

template <int kBytes, typename T, typename U>
WEFT_DEVICE void CopyAsyncZeroFill(SharedPtr<T> to, GlobalPtr<U> from, int bytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(ptx_internal::Address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(ptx_internal::Address(to)),
                 "l"(__cvta_generic_to_global(from)), "n"(kBytes), "r"(bytes)
                 : "memory");
  }
}
template <int kBytes, typename T, typename U>
WEFT_DEVICE void CopyAsync(SharedPtr<T> to, GlobalPtr<U> from) {
  CopyAsyncZeroFill<kBytes>(to, from, kBytes);
}
WEFT_DEVICE void CopyAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
WEFT_DEVICE void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

// --- Barriers
// -------------------------------------------------------------------------------------

WEFT_DEVICE void NamedBarrierSync(uint32_t id, uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
WEFT_DEVICE void NamedBarrierArrive(uint32_t id, uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
WEFT_DEVICE void MbarrierInit(SharedPtr<uint64_t> barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(ptx_internal::Address(barrier)),
               "r"(arrivals)
               : "memory");
}
WEFT_DEVICE void FenceMbarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
WEFT_DEVICE void MbarrierArrive(SharedPtr<uint64_t> barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(ptx_internal::Address(barrier))
               : "memory");
}
WEFT_DEVICE void MbarrierArriveExpect(SharedPtr<uint64_t> barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   ptx_internal::Address(barrier)),
               "r"(bytes)
               : "memory");
}
WEFT_DEVICE void MbarrierExpect(SharedPtr<uint64_t> barrier, uint32_t bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(
                   ptx_internal::Address(barrier)),
               "r"(bytes)
               : "memory");
}
WEFT_DEVICE bool MbarrierTryWait(SharedPtr<uint64_t> barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(done)
      : "r"(ptx_internal::Address(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}
WEFT_DEVICE void MbarrierWait(SharedPtr<uint64_t> barrier, uint32_t parity) {
  while (!MbarrierTryWait(barrier, parity)) {
  }
}
WEFT_DEVICE void CopyAsyncArrive(SharedPtr<uint64_t> barrier) {
  asm volatile(
      "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(ptx_internal::Address(barrier))
      : "memory");
}

// --- Bulk copies
// ----------------------------------------------------------------------------------

template <typename T, typename U>
WEFT_DEVICE void BulkLoad(SharedPtr<T> to, GlobalPtr<U> from, uint32_t bytes,
                          SharedPtr<uint64_t> barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(ptx_internal::Address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(ptx_internal::Address(barrier))
      : "memory");
}
template <typename T, typename U>
WEFT_DEVICE void BulkStore(GlobalPtr<T> to, SharedPtr<U> from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                   __cvta_generic_to_global(to)),
               "r"(ptx_internal::Address(from)), "r"(bytes)
               : "memory");
}

template <typename T, typename... C>
WEFT_DEVICE void TensorLoad(SharedPtr<T> to, const TensorMap& map, SharedPtr<uint64_t> barrier,
                            C... at) {
  constexpr int kRank = sizeof...(C);
  static_assert(kRank >= 1 && kRank <= 5);
  const int c[5] = {static_cast<int>(at)...};
  const uint32_t s = ptx_internal::Address(to);
  const uint32_t b = ptx_internal::Address(barrier);
  const uint64_t m = reinterpret_cast<uint64_t>(&map);
#define WEFT_TMA_LOAD "cp.async.bulk.tensor."
#define WEFT_TMA_LOAD_TAIL "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
  if constexpr (kRank == 1) {
    asm volatile(WEFT_TMA_LOAD "1" WEFT_TMA_LOAD_TAIL "{%3}], [%2];" ::"r"(s), "l"(m), "r"(b),
                 "r"(c[0])
                 : "memory");
  } else if constexpr (kRank == 2) {
    asm volatile(WEFT_TMA_LOAD "2" WEFT_TMA_LOAD_TAIL "{%3,%4}], [%2];" ::"r"(s), "l"(m), "r"(b),
                 "r"(c[0]), "r"(c[1])
                 : "memory");
  } else if constexpr (kRank == 3) {
    asm volatile(WEFT_TMA_LOAD "3" WEFT_TMA_LOAD_TAIL "{%3,%4,%5}], [%2];" ::"r"(s), "l"(m), "r"(b),
                 "r"(c[0]), "r"(c[1]), "r"(c[2])
                 : "memory");
  } else if constexpr (kRank == 4) {
    asm volatile(WEFT_TMA_LOAD "4" WEFT_TMA_LOAD_TAIL "{%3,%4,%5,%6}], [%2];" ::"r"(s), "l"(m),
                 "r"(b), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3])
                 : "memory");
  } else {
    asm volatile(WEFT_TMA_LOAD "5" WEFT_TMA_LOAD_TAIL "{%3,%4,%5,%6,%7}], [%2];" ::"r"(s), "l"(m),
                 "r"(b), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4])
                 : "memory");
  }
#undef WEFT_TMA_LOAD
#undef WEFT_TMA_LOAD_TAIL
}

#define WEFT_TMA_STORE(name, head, tail)                                                        \
  template <typename T, typename... C>                                                          \
  WEFT_DEVICE void name(const TensorMap& map, SharedPtr<T> from, C... at) {                     \
    constexpr int kRank = sizeof...(C);                                                         \
    static_assert(kRank >= 1 && kRank <= 5);                                                    \
    const int c[5] = {static_cast<int>(at)...};                                                 \
    const uint32_t s = ptx_internal::Address(from);                                             \
    const uint64_t m = reinterpret_cast<uint64_t>(&map);                                        \
    if constexpr (kRank == 1) {                                                                 \
      asm volatile(head "1" tail " [%0, {%2}], [%1];" ::"l"(m), "r"(s), "r"(c[0]) : "memory");  \
    } else if constexpr (kRank == 2) {                                                          \
      asm volatile(head "2" tail " [%0, {%2,%3}], [%1];" ::"l"(m), "r"(s), "r"(c[0]), "r"(c[1]) \
                   : "memory");                                                                 \
    } else if constexpr (kRank == 3) {                                                          \
      asm volatile(head "3" tail " [%0, {%2,%3,%4}], [%1];" ::"l"(m), "r"(s), "r"(c[0]),        \
                   "r"(c[1]), "r"(c[2])                                                         \
                   : "memory");                                                                 \
    } else if constexpr (kRank == 4) {                                                          \
      asm volatile(head "4" tail " [%0, {%2,%3,%4,%5}], [%1];" ::"l"(m), "r"(s), "r"(c[0]),     \
                   "r"(c[1]), "r"(c[2]), "r"(c[3])                                              \
                   : "memory");                                                                 \
    } else {                                                                                    \
      asm volatile(head "5" tail " [%0, {%2,%3,%4,%5,%6}], [%1];" ::"l"(m), "r"(s), "r"(c[0]),  \
                   "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4])                                   \
                   : "memory");                                                                 \
    }                                                                                           \
  }
WEFT_TMA_STORE(TensorStore, "cp.async.bulk.tensor.", "d.global.shared::cta.tile.bulk_group")
WEFT_TMA_STORE(TensorReduceAdd, "cp.reduce.async.bulk.tensor.",
               "d.global.shared::cta.add.tile.bulk_group")
#undef WEFT_TMA_STORE

WEFT_DEVICE void TensorPrefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(&map)) : "memory");
}
WEFT_DEVICE void BulkCommit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int kLeft>
WEFT_DEVICE void BulkWait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kLeft) : "memory");
}
template <int kLeft>
WEFT_DEVICE void BulkWaitRead() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
}
WEFT_DEVICE void FenceProxyAsync() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// --- Other
// ----------------------------------------------------------------------------------------

WEFT_DEVICE bool ElectOne() {
  uint32_t elected;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(elected));
  return elected != 0;
}
WEFT_DEVICE void DependencyWait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
WEFT_DEVICE void DependencyTrigger() { asm volatile("griddepcontrol.launch_dependents;"); }
#endif  // sm_90

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
template <int kRegisters>
WEFT_DEVICE void IncreaseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
WEFT_DEVICE void DecreaseRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
#endif

WEFT_DEVICE uint32_t LoadAcquire(GlobalPtr<uint32_t> p) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
               : "=r"(value)
               : "l"(__cvta_generic_to_global(p))
               : "memory");
  return value;
}
WEFT_DEVICE void StoreRelease(GlobalPtr<uint32_t> p, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(p)), "r"(value)
               : "memory");
}
WEFT_DEVICE uint32_t AddRelease(GlobalPtr<uint32_t> p, uint32_t value) {
  uint32_t old;
  asm volatile("atom.add.release.gpu.global.u32 %0, [%1], %2;"
               : "=r"(old)
               : "l"(__cvta_generic_to_global(p)), "r"(value)
               : "memory");
  return old;
}

WEFT_DEVICE float Exp2Approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WEFT_DEVICE float TanhApprox(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WEFT_DEVICE float ReciprocalApprox(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace weft::gpu
