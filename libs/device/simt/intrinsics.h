// CUDA's built-in functions for the emulator: barriers, fences, shuffles, votes, atomics, bit and
// fast arithmetic. Semantics: CUDA C++ Programming Guide, "C++ Language Extensions". A shuffle or a
// vote orders no memory; __syncwarp does.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "libs/device/simt/machine.h"
#include "libs/device/simt/pointer.h"
#include "libs/device/simt/vector_types.h"

namespace weft::gpu {

// NOLINTBEGIN(bugprone-reserved-identifier): these are CUDA's names.

inline void __syncthreads(simt::Here here = simt::Here()) {
  simt::Current().block->Barrier(here.site);
}
inline void __syncwarp(uint32_t mask = ~0u, simt::Here here = simt::Here()) {
  simt::WarpOperation(mask, "__syncwarp", simt::Instruction::kWarpSync, nullptr, 0, here.site,
                      true);
}
// Makes earlier writes visible to whoever acquires a later atomic of this thread, and the other way
// round. Declared in fences.cc.
void __threadfence();
void __threadfence_block();
void __threadfence_system();

// --- Shuffles and votes
// ---------------------------------------------------------------------------

namespace shuffle_internal {

template <typename T>
T Exchange(uint32_t mask, const char* name, T value, uint32_t from, simt::Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2);
  const simt::WarpOperation op(mask, name, simt::Instruction::kShuffle, &value, sizeof(T), site);
  if (!op.Holds(from)) {
    simt::CurrentGrid().Report(simt::DefectKind::kWarpMismatch, &simt::Current(), site, [&] {
      return std::string(name) + " from a lane that is not in the mask";
    });
    return value;
  }
  return op.template From<T>(from);
}

inline bool IsWidth(int width) { return width > 0 && width <= 32 && (width & (width - 1)) == 0; }

}  // namespace shuffle_internal

template <typename T>
T __shfl_sync(uint32_t mask, T value, int from, int width = 32, simt::Here here = simt::Here()) {
  const int lane = static_cast<int>(simt::Current().lane);
  const int source = (lane & ~(width - 1)) | (from & (width - 1));
  return shuffle_internal::Exchange(mask, "__shfl_sync", value, static_cast<uint32_t>(source),
                                    here.site);
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int with, int width = 32,
                  simt::Here here = simt::Here()) {
  const int lane = static_cast<int>(simt::Current().lane);
  const int source = lane ^ with;
  // A lane of a later segment is out of reach.
  const bool reached = source < (lane & ~(width - 1)) + width;
  return shuffle_internal::Exchange(mask, "__shfl_xor_sync", value,
                                    static_cast<uint32_t>(reached ? source : lane), here.site);
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, unsigned by, int width = 32,
                   simt::Here here = simt::Here()) {
  const int lane = static_cast<int>(simt::Current().lane);
  const int source = lane + static_cast<int>(by);
  const bool reached = source < (lane & ~(width - 1)) + width;
  return shuffle_internal::Exchange(mask, "__shfl_down_sync", value,
                                    static_cast<uint32_t>(reached ? source : lane), here.site);
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by, int width = 32,
                 simt::Here here = simt::Here()) {
  const int lane = static_cast<int>(simt::Current().lane);
  const int source = lane - static_cast<int>(by);
  const bool reached = source >= (lane & ~(width - 1));
  return shuffle_internal::Exchange(mask, "__shfl_up_sync", value,
                                    static_cast<uint32_t>(reached ? source : lane), here.site);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, simt::Here here = simt::Here()) {
  const int operand = predicate;
  const simt::WarpOperation op(mask, "__ballot_sync", simt::Instruction::kVote, &operand, 4,
                               here.site);
  uint32_t bits = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (op.Holds(lane) && (mask >> lane & 1) != 0 && op.From<int>(lane) != 0) bits |= 1u << lane;
  }
  return bits;
}
inline int __any_sync(uint32_t mask, int predicate, simt::Here here = simt::Here()) {
  return __ballot_sync(mask, predicate, here) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, simt::Here here = simt::Here()) {
  return __ballot_sync(mask, !predicate, here) == 0;
}
template <typename T>
uint32_t __match_any_sync(uint32_t mask, T value, simt::Here here = simt::Here()) {
  const simt::WarpOperation op(mask, "__match_any_sync", simt::Instruction::kVote, &value,
                               sizeof(T), here.site);
  uint32_t bits = 0;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (op.Holds(lane) && op.template From<T>(lane) == value) bits |= 1u << lane;
  }
  return bits;
}
inline uint32_t __activemask() { return ~0u; }

namespace shuffle_internal {
template <typename T, typename F>
T Reduce(uint32_t mask, const char* name, T value, simt::Site site, F combine) {
  const simt::WarpOperation op(mask, name, simt::Instruction::kShuffle, &value, sizeof(T), site);
  T all{};
  bool first = true;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!op.Holds(lane)) continue;
    all = first ? op.template From<T>(lane) : combine(all, op.template From<T>(lane));
    first = false;
  }
  return all;
}
}  // namespace shuffle_internal

#define WEFT_WARP_REDUCE(name, T, expression)                                  \
  inline T name(uint32_t mask, T value, simt::Here here = simt::Here()) {      \
    return shuffle_internal::Reduce(mask, #name, value, here.site,             \
                                    [](T a, T b) -> T { return expression; }); \
  }
WEFT_WARP_REDUCE(__reduce_add_sync, uint32_t, a + b)
WEFT_WARP_REDUCE(__reduce_min_sync, uint32_t, a < b ? a : b)
WEFT_WARP_REDUCE(__reduce_max_sync, uint32_t, a > b ? a : b)
WEFT_WARP_REDUCE(__reduce_and_sync, uint32_t, a& b)
WEFT_WARP_REDUCE(__reduce_or_sync, uint32_t, a | b)
WEFT_WARP_REDUCE(__reduce_add_sync, int32_t,
                 static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)))
WEFT_WARP_REDUCE(__reduce_min_sync, int32_t, a < b ? a : b)
WEFT_WARP_REDUCE(__reduce_max_sync, int32_t, a > b ? a : b)
#undef WEFT_WARP_REDUCE

// --- Atomics
// --------------------------------------------------------------------------------------

namespace atomic_internal {

// Joins the releases at this address; see fences.cc.
void Synchronise(uintptr_t address);

template <typename T, simt::Space kSpace, typename F>
T Update(const simt::Ptr<T, kSpace>& p, simt::Site site, F next) {
  simt::CurrentGrid().Count(simt::Instruction::kAtomic);
  T old{};
  if (!simt::CheckThreadAccess(p.region(), p.address(), sizeof(T), sizeof(T), simt::Access::kAtomic,
                               site)) {
    return old;
  }
  std::memcpy(&old, p.address(), sizeof(T));
  const T value = next(old);
  std::memcpy(p.address(), &value, sizeof(T));
  Synchronise(reinterpret_cast<uintptr_t>(p.address()));
  return old;
}

}  // namespace atomic_internal

#define WEFT_ATOMIC(name, expression)                                                      \
  template <typename T, simt::Space kSpace>                                                \
  T name(const simt::Ptr<T, kSpace>& p, std::type_identity_t<T> value,                     \
         simt::Here here = simt::Here()) {                                                 \
    return atomic_internal::Update(p, here.site,                                           \
                                   [value](T old) { return static_cast<T>(expression); }); \
  }
WEFT_ATOMIC(atomicAdd, old + value)
WEFT_ATOMIC(atomicSub, old - value)
WEFT_ATOMIC(atomicMax, old < value ? value : old)
WEFT_ATOMIC(atomicMin, value < old ? value : old)
WEFT_ATOMIC(atomicExch, ((void)old, value))
WEFT_ATOMIC(atomicAnd, old& value)
WEFT_ATOMIC(atomicOr, old | value)
WEFT_ATOMIC(atomicXor, old ^ value)
WEFT_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
#undef WEFT_ATOMIC

template <typename T, simt::Space kSpace>
T atomicCAS(const simt::Ptr<T, kSpace>& p, std::type_identity_t<T> compare,
            std::type_identity_t<T> value, simt::Here here = simt::Here()) {
  return atomic_internal::Update(p, here.site, [=](T old) { return old == compare ? value : old; });
}

// --- Loads and stores with a cache hint
// -----------------------------------------------------------

#define WEFT_LOAD(name)                                                                            \
  template <typename T, simt::Space kSpace>                                                        \
  std::remove_const_t<T> name(const simt::Ptr<T, kSpace>& p, simt::Here here = simt::Here()) {     \
    return simt::Ptr<const T, kSpace>(p.address(),                                                 \
                                      p.region())[simt::Index(0, here.site.file, here.site.line)]; \
  }
WEFT_LOAD(__ldg)
WEFT_LOAD(__ldca)
WEFT_LOAD(__ldcg)
WEFT_LOAD(__ldcs)
#undef WEFT_LOAD
#define WEFT_STORE(name)                                                         \
  template <typename T, simt::Space kSpace>                                      \
  void name(const simt::Ptr<T, kSpace>& p, const std::type_identity_t<T>& value, \
            simt::Here here = simt::Here()) {                                    \
    p[simt::Index(0, here.site.file, here.site.line)] = value;                   \
  }
WEFT_STORE(__stcg)
WEFT_STORE(__stcs)
WEFT_STORE(__stwt)
#undef WEFT_STORE

// --- Bits and fast arithmetic
// ---------------------------------------------------------------------

inline int __popc(uint32_t x) { return std::popcount(x); }
inline int __popcll(uint64_t x) { return std::popcount(x); }
inline int __clz(int32_t x) { return std::countl_zero(static_cast<uint32_t>(x)); }
inline int __ffs(int32_t x) { return x == 0 ? 0 : std::countr_zero(static_cast<uint32_t>(x)) + 1; }
inline uint32_t __brev(uint32_t x) {
  uint32_t r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
  return r;
}
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline int32_t __float_as_int(float x) { return std::bit_cast<int32_t>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int32_t x) { return std::bit_cast<float>(x); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t by) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (by & 31));
}
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
  uint32_t r = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t s = selector >> (4 * i) & 7u;
    r |= static_cast<uint32_t>(both >> (8 * s) & 0xffu) << (8 * i);
  }
  return r;
}
inline int32_t __dp4a(int32_t a, int32_t b, int32_t c) {
  for (int i = 0; i < 4; ++i) {
    c += static_cast<int8_t>(static_cast<uint32_t>(a) >> (8 * i)) *
         static_cast<int8_t>(static_cast<uint32_t>(b) >> (8 * i));
  }
  return c;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __frsqrt_rn(float x) { return 1.0f / std::sqrt(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline int32_t __float2int_rn(float x) { return static_cast<int32_t>(std::nearbyint(x)); }
inline int32_t __float2int_rd(float x) { return static_cast<int32_t>(std::floor(x)); }
inline int32_t __float2int_rz(float x) { return static_cast<int32_t>(x); }
inline float __int2float_rn(int32_t x) { return static_cast<float>(x); }
inline float __uint2float_rn(uint32_t x) { return static_cast<float>(x); }
template <typename T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}

// NOLINTEND(bugprone-reserved-identifier)

}  // namespace weft::gpu
