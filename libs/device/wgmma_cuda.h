// ptx.h's warpgroup matrices as wgmma.mma_async, for sm_90a. See ptx.h for their contracts.
// N is one of 8 16 24 32 48 64 80 96 128 160 192 256.
#pragma once

#include <cstdint>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

namespace weft::gpu {

// Descriptor: PTX ISA 8.8, "Matrix Descriptor Format". Advance along K within the swizzle's width
// by adding bytes / 16.
template <typename T>
WEFT_DEVICE uint64_t MakeDescriptor(SharedPtr<T> tile, uint32_t leading_bytes,
                                    uint32_t stride_bytes, Swizzle swizzle) {
  return static_cast<uint64_t>((ptx_internal::Address(tile) & 0x3ffffu) >> 4) |
         static_cast<uint64_t>(leading_bytes >> 4 & 0x3fffu) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4 & 0x3fffu) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

WEFT_DEVICE void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
WEFT_DEVICE void WgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
WEFT_DEVICE void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// The accumulators in the instruction's text and as operands, four (eight columns) at a time.
#define WEFT_D8 "%0,%1,%2,%3"
#define WEFT_D16 WEFT_D8 ",%4,%5,%6,%7"
#define WEFT_D24 WEFT_D16 ",%8,%9,%10,%11"
#define WEFT_D32 WEFT_D24 ",%12,%13,%14,%15"
#define WEFT_D40 WEFT_D32 ",%16,%17,%18,%19"
#define WEFT_D48 WEFT_D40 ",%20,%21,%22,%23"
#define WEFT_D56 WEFT_D48 ",%24,%25,%26,%27"
#define WEFT_D64 WEFT_D56 ",%28,%29,%30,%31"
#define WEFT_D72 WEFT_D64 ",%32,%33,%34,%35"
#define WEFT_D80 WEFT_D72 ",%36,%37,%38,%39"
#define WEFT_D88 WEFT_D80 ",%40,%41,%42,%43"
#define WEFT_D96 WEFT_D88 ",%44,%45,%46,%47"
#define WEFT_D104 WEFT_D96 ",%48,%49,%50,%51"
#define WEFT_D112 WEFT_D104 ",%52,%53,%54,%55"
#define WEFT_D120 WEFT_D112 ",%56,%57,%58,%59"
#define WEFT_D128 WEFT_D120 ",%60,%61,%62,%63"
#define WEFT_D136 WEFT_D128 ",%64,%65,%66,%67"
#define WEFT_D144 WEFT_D136 ",%68,%69,%70,%71"
#define WEFT_D152 WEFT_D144 ",%72,%73,%74,%75"
#define WEFT_D160 WEFT_D152 ",%76,%77,%78,%79"
#define WEFT_D168 WEFT_D160 ",%80,%81,%82,%83"
#define WEFT_D176 WEFT_D168 ",%84,%85,%86,%87"
#define WEFT_D184 WEFT_D176 ",%88,%89,%90,%91"
#define WEFT_D192 WEFT_D184 ",%92,%93,%94,%95"
#define WEFT_D200 WEFT_D192 ",%96,%97,%98,%99"
#define WEFT_D208 WEFT_D200 ",%100,%101,%102,%103"
#define WEFT_D216 WEFT_D208 ",%104,%105,%106,%107"
#define WEFT_D224 WEFT_D216 ",%108,%109,%110,%111"
#define WEFT_D232 WEFT_D224 ",%112,%113,%114,%115"
#define WEFT_D240 WEFT_D232 ",%116,%117,%118,%119"
#define WEFT_D248 WEFT_D240 ",%120,%121,%122,%123"
#define WEFT_D256 WEFT_D248 ",%124,%125,%126,%127"
#define WEFT_Q(c, d, i) "+" c(d[i]), "+" c(d[i + 1]), "+" c(d[i + 2]), "+" c(d[i + 3])
#define WEFT_C8(c, d) WEFT_Q(c, d, 0)
#define WEFT_C16(c, d) WEFT_C8(c, d), WEFT_Q(c, d, 4)
#define WEFT_C24(c, d) WEFT_C16(c, d), WEFT_Q(c, d, 8)
#define WEFT_C32(c, d) WEFT_C24(c, d), WEFT_Q(c, d, 12)
#define WEFT_C40(c, d) WEFT_C32(c, d), WEFT_Q(c, d, 16)
#define WEFT_C48(c, d) WEFT_C40(c, d), WEFT_Q(c, d, 20)
#define WEFT_C56(c, d) WEFT_C48(c, d), WEFT_Q(c, d, 24)
#define WEFT_C64(c, d) WEFT_C56(c, d), WEFT_Q(c, d, 28)
#define WEFT_C72(c, d) WEFT_C64(c, d), WEFT_Q(c, d, 32)
#define WEFT_C80(c, d) WEFT_C72(c, d), WEFT_Q(c, d, 36)
#define WEFT_C88(c, d) WEFT_C80(c, d), WEFT_Q(c, d, 40)
#define WEFT_C96(c, d) WEFT_C88(c, d), WEFT_Q(c, d, 44)
#define WEFT_C104(c, d) WEFT_C96(c, d), WEFT_Q(c, d, 48)
#define WEFT_C112(c, d) WEFT_C104(c, d), WEFT_Q(c, d, 52)
#define WEFT_C120(c, d) WEFT_C112(c, d), WEFT_Q(c, d, 56)
#define WEFT_C128(c, d) WEFT_C120(c, d), WEFT_Q(c, d, 60)
#define WEFT_C136(c, d) WEFT_C128(c, d), WEFT_Q(c, d, 64)
#define WEFT_C144(c, d) WEFT_C136(c, d), WEFT_Q(c, d, 68)
#define WEFT_C152(c, d) WEFT_C144(c, d), WEFT_Q(c, d, 72)
#define WEFT_C160(c, d) WEFT_C152(c, d), WEFT_Q(c, d, 76)
#define WEFT_C168(c, d) WEFT_C160(c, d), WEFT_Q(c, d, 80)
#define WEFT_C176(c, d) WEFT_C168(c, d), WEFT_Q(c, d, 84)
#define WEFT_C184(c, d) WEFT_C176(c, d), WEFT_Q(c, d, 88)
#define WEFT_C192(c, d) WEFT_C184(c, d), WEFT_Q(c, d, 92)
#define WEFT_C200(c, d) WEFT_C192(c, d), WEFT_Q(c, d, 96)
#define WEFT_C208(c, d) WEFT_C200(c, d), WEFT_Q(c, d, 100)
#define WEFT_C216(c, d) WEFT_C208(c, d), WEFT_Q(c, d, 104)
#define WEFT_C224(c, d) WEFT_C216(c, d), WEFT_Q(c, d, 108)
#define WEFT_C232(c, d) WEFT_C224(c, d), WEFT_Q(c, d, 112)
#define WEFT_C240(c, d) WEFT_C232(c, d), WEFT_Q(c, d, 116)
#define WEFT_C248(c, d) WEFT_C240(c, d), WEFT_Q(c, d, 120)
#define WEFT_C256(c, d) WEFT_C248(c, d), WEFT_Q(c, d, 124)

// X(N, names of the seven operands after the accumulators)
#define WEFT_FOR_EACH_N(X)                                   \
  X(8, "%4", "%5", "%6", "%7", "%8", "%9", "%10")            \
  X(16, "%8", "%9", "%10", "%11", "%12", "%13", "%14")       \
  X(24, "%12", "%13", "%14", "%15", "%16", "%17", "%18")     \
  X(32, "%16", "%17", "%18", "%19", "%20", "%21", "%22")     \
  X(48, "%24", "%25", "%26", "%27", "%28", "%29", "%30")     \
  X(64, "%32", "%33", "%34", "%35", "%36", "%37", "%38")     \
  X(80, "%40", "%41", "%42", "%43", "%44", "%45", "%46")     \
  X(96, "%48", "%49", "%50", "%51", "%52", "%53", "%54")     \
  X(128, "%64", "%65", "%66", "%67", "%68", "%69", "%70")    \
  X(160, "%80", "%81", "%82", "%83", "%84", "%85", "%86")    \
  X(192, "%96", "%97", "%98", "%99", "%100", "%101", "%102") \
  X(256, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

// Inside a function of N, d, a, b and accumulate: the instruction for this N. `tail` and `more` are
// the flags after the predicate and their operands.
#define WEFT_SS(n, k, types, c, o0, o1, o2, tail, ...)                                           \
  if constexpr (N == n) {                                                                        \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " o2                                          \
                 ", 0;\n"                                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" #n k types " {" WEFT_D##n "}, " o0 ", " o1  \
                                                                               ", p" tail ";\n}" \
                 : WEFT_C##n(c, d)                                                               \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate))__VA_OPT__(, ) __VA_ARGS__); \
  }
#define WEFT_RS(n, k, types, c, o0, o1, o2, o3, o4, o5, tail, ...)               \
  if constexpr (N == n) {                                                        \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " o5                          \
                 ", 0;\n"                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" #n k types " {" WEFT_D##n   \
                 "}, {" o0 "," o1 "," o2 "," o3 "}, " o4 ", p" tail ";\n}"       \
                 : WEFT_C##n(c, d)                                               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),           \
                   "r"(static_cast<int>(accumulate))__VA_OPT__(, ) __VA_ARGS__); \
  }

template <int N, bool kTransA = false, bool kTransB = false>
WEFT_DEVICE void WgmmaBf16(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6)                                                  \
  WEFT_SS(n, "k16", ".f32.bf16.bf16", "f", o0, o1, o2, ", 1, 1, " o3 ", " o4, "n"(int(kTransA)), \
          "n"(int(kTransB)))
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}
template <int N, bool kTransB = false>
WEFT_DEVICE void WgmmaBf16(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6) \
  WEFT_RS(n, "k16", ".f32.bf16.bf16", "f", o0, o1, o2, o3, o4, o5, ", 1, 1, " o6, "n"(int(kTransB)))
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}

template <int N, bool kTransA = false, bool kTransB = false>
WEFT_DEVICE void WgmmaHalf(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6)                                                \
  WEFT_SS(n, "k16", ".f32.f16.f16", "f", o0, o1, o2, ", 1, 1, " o3 ", " o4, "n"(int(kTransA)), \
          "n"(int(kTransB)))
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}
template <int N, bool kTransB = false>
WEFT_DEVICE void WgmmaHalf(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6) \
  WEFT_RS(n, "k16", ".f32.f16.f16", "f", o0, o1, o2, o3, o4, o5, ", 1, 1, " o6, "n"(int(kTransB)))
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}

template <int N, bool kTransA = false, bool kTransB = false>
WEFT_DEVICE void WgmmaE4m3(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(!kTransA && !kTransB);
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6) \
  WEFT_SS(n, "k32", ".f32.e4m3.e4m3", "f", o0, o1, o2, ", 1, 1")
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}
template <int N, bool kTransB = false>
WEFT_DEVICE void WgmmaE4m3(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(!kTransB);
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6) \
  WEFT_RS(n, "k32", ".f32.e4m3.e4m3", "f", o0, o1, o2, o3, o4, o5, ", 1, 1")
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}

template <int N, bool kTransA = false, bool kTransB = false>
WEFT_DEVICE void WgmmaS8(int32_t (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(!kTransA && !kTransB);
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6) WEFT_SS(n, "k32", ".s32.s8.s8", "r", o0, o1, o2, "")
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}
template <int N, bool kTransB = false>
WEFT_DEVICE void WgmmaS8(int32_t (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(!kTransB);
#define WEFT_ONE(n, o0, o1, o2, o3, o4, o5, o6) \
  WEFT_RS(n, "k32", ".s32.s8.s8", "r", o0, o1, o2, o3, o4, o5, "")
  WEFT_FOR_EACH_N(WEFT_ONE)
#undef WEFT_ONE
}

#undef WEFT_D8
#undef WEFT_C8
#undef WEFT_D16
#undef WEFT_C16
#undef WEFT_D24
#undef WEFT_C24
#undef WEFT_D32
#undef WEFT_C32
#undef WEFT_D40
#undef WEFT_C40
#undef WEFT_D48
#undef WEFT_C48
#undef WEFT_D56
#undef WEFT_C56
#undef WEFT_D64
#undef WEFT_C64
#undef WEFT_D72
#undef WEFT_C72
#undef WEFT_D80
#undef WEFT_C80
#undef WEFT_D88
#undef WEFT_C88
#undef WEFT_D96
#undef WEFT_C96
#undef WEFT_D104
#undef WEFT_C104
#undef WEFT_D112
#undef WEFT_C112
#undef WEFT_D120
#undef WEFT_C120
#undef WEFT_D128
#undef WEFT_C128
#undef WEFT_D136
#undef WEFT_C136
#undef WEFT_D144
#undef WEFT_C144
#undef WEFT_D152
#undef WEFT_C152
#undef WEFT_D160
#undef WEFT_C160
#undef WEFT_D168
#undef WEFT_C168
#undef WEFT_D176
#undef WEFT_C176
#undef WEFT_D184
#undef WEFT_C184
#undef WEFT_D192
#undef WEFT_C192
#undef WEFT_D200
#undef WEFT_C200
#undef WEFT_D208
#undef WEFT_C208
#undef WEFT_D216
#undef WEFT_C216
#undef WEFT_D224
#undef WEFT_C224
#undef WEFT_D232
#undef WEFT_C232
#undef WEFT_D240
#undef WEFT_C240
#undef WEFT_D248
#undef WEFT_C248
#undef WEFT_D256
#undef WEFT_C256
#undef WEFT_Q
#undef WEFT_FOR_EACH_N
#undef WEFT_SS
#undef WEFT_RS

}  // namespace weft::gpu

#endif
