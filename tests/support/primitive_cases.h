// One small kernel for each primitive of libs/device/ptx.h, with the result that the documented
// layouts give, computed plainly on the host. tests/unit/simt runs them in the emulator; the same
// list is for a GPU: compile this file with nvcc and compare with Expect() too. All sums are of
// small integers, exact in any order, so results are compared as bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "libs/device/ptx.h"
#include "libs/device/tile.h"

namespace weft::gpu {

struct PrimitiveParams {
  GlobalPtr<const uint32_t> in;
  GlobalPtr<uint32_t> out;
  TensorMap map;        // of `in`, for cases that have a map
  TensorMap store_map;  // of `out`
};

// A tensor of the whole input (and of the output, the same) for the TMA cases.
struct PrimitiveCase {
  const char* name;
  void (*kernel)(PrimitiveParams);
  uint32_t threads;
  uint32_t shared_bytes;
  uint32_t in_words;
  uint32_t out_words;
  std::vector<uint32_t> (*make_input)(uint32_t words);
  std::vector<uint32_t> (*expect)(const std::vector<uint32_t>& in);
  bool has_map;
  TensorMapShape map;
};

namespace primitive {

// --- Inputs
// ---------------------------------------------------------------------------------------

inline uint32_t Random(uint32_t i) {
  uint32_t x = i * 0x9e3779b9u + 0x7f4a7c15u;
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ x >> 16;
}
inline int Small(uint32_t i) { return static_cast<int>(Random(i) % 9) - 4; }  // -4 to 4

inline std::vector<uint32_t> RandomWords(uint32_t words) {
  std::vector<uint32_t> v(words);
  for (uint32_t i = 0; i < words; ++i) v[i] = Random(i);
  return v;
}
template <typename T>
std::vector<uint32_t> SmallNumbers(uint32_t words) {
  std::vector<uint32_t> v(words);
  const uint32_t per_word = 4 / sizeof(T);
  for (uint32_t i = 0; i < words * per_word; ++i) {
    T x{};
    if constexpr (std::is_same_v<T, int8_t>) {
      x = static_cast<T>(Small(i));
    } else {
      x = FromFloat<T>(static_cast<float>(Small(i)));
    }
    memcpy(reinterpret_cast<char*>(v.data()) + i * sizeof(T), &x, sizeof(T));
  }
  return v;
}
template <typename T>
double Number(const std::vector<uint32_t>& v, size_t i) {
  T x;
  memcpy(&x, reinterpret_cast<const char*>(v.data()) + i * sizeof(T), sizeof(T));
  if constexpr (std::is_same_v<T, int8_t>) {
    return x;
  } else {
    return ToFloat(x);
  }
}
template <typename T>
uint32_t SumBits(double sum) {
  if constexpr (std::is_same_v<T, int8_t>) {
    return static_cast<uint32_t>(static_cast<int32_t>(sum));
  } else {
    return number_internal::BitsOf(static_cast<float>(sum));
  }
}
WEFT_DEVICE uint32_t Bits(float x) { return __float_as_uint(x); }
WEFT_DEVICE uint32_t Bits(int32_t x) { return static_cast<uint32_t>(x); }
WEFT_DEVICE uint32_t LaneId() { return threadIdx.x % 32; }

// --- ldmatrix, stmatrix: four matrices of eight rows of four words
// ---------------------------------

template <bool kTrans>
WEFT_KERNEL(32)
void LoadMatrixKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  for (uint32_t i = threadIdx.x; i < 128; i += 32) tile[i] = p.in[i];
  __syncthreads();
  uint32_t r[4];
  if constexpr (kTrans) {
    LoadMatrixTrans(r, tile + 4 * threadIdx.x);
  } else {
    LoadMatrix(r, tile + 4 * threadIdx.x);
  }
  for (uint32_t i = 0; i < 4; ++i) p.out[32 * i + threadIdx.x] = r[i];
}
template <bool kTrans>
std::vector<uint32_t> ExpectLoadMatrix(const std::vector<uint32_t>& in) {
  const auto element = [&](uint32_t m, uint32_t row, uint32_t column) {
    return in[m * 32 + row * 4 + column / 2] >> (16 * (column % 2)) & 0xffffu;
  };
  std::vector<uint32_t> out(128);
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t g = lane / 4;
      const uint32_t c = lane % 4 * 2;
      out[32 * m + lane] = kTrans ? element(m, c, g) | element(m, c + 1, g) << 16
                                  : element(m, g, c) | element(m, g, c + 1) << 16;
    }
  }
  return out;
}

template <bool kTrans>
WEFT_KERNEL(32)
void StoreMatrixKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  uint32_t r[4];
  for (uint32_t i = 0; i < 4; ++i) r[i] = p.in[32 * i + threadIdx.x];
  if constexpr (kTrans) {
    StoreMatrixTrans(tile + 4 * threadIdx.x, r);
  } else {
    StoreMatrix(tile + 4 * threadIdx.x, r);
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < 128; i += 32) p.out[i] = tile[i];
}
template <bool kTrans>
std::vector<uint32_t> ExpectStoreMatrix(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(128);
  const auto put = [&](uint32_t m, uint32_t row, uint32_t column, uint32_t value) {
    out[m * 32 + row * 4 + column / 2] |= (value & 0xffffu) << (16 * (column % 2));
  };
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t g = lane / 4;
      const uint32_t c = lane % 4 * 2;
      const uint32_t r = in[32 * m + lane];
      put(m, kTrans ? c : g, kTrans ? g : c, r);
      put(m, kTrans ? c + 1 : g, kTrans ? g : c + 1, r >> 16);
    }
  }
  return out;
}

// --- mma: A [16, 8 words], B [8, 8 words], D [16, 8]
// ------------------------------------------------

template <typename T>
WEFT_KERNEL(32)
void MmaKernel(const WEFT_PARAMS PrimitiveParams p) {
  const uint32_t g = threadIdx.x / 4;
  const uint32_t t = threadIdx.x % 4;
  const GlobalPtr<const uint32_t> columns = p.in + 16 * 8;
  const uint32_t a[4] = {p.in[g * 8 + t], p.in[(g + 8) * 8 + t], p.in[g * 8 + t + 4],
                         p.in[(g + 8) * 8 + t + 4]};
  const uint32_t b[2] = {columns[g * 8 + t], columns[g * 8 + t + 4]};
  std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float> d[4] = {1, 2, 3, 4};
  if constexpr (std::is_same_v<T, Bf16>) MmaBf16(d, a, b);
  if constexpr (std::is_same_v<T, Half>) MmaHalf(d, a, b);
  if constexpr (std::is_same_v<T, E4m3>) MmaE4m3(d, a, b);
  if constexpr (std::is_same_v<T, int8_t>) MmaS8(d, a, b);
  for (uint32_t i = 0; i < 4; ++i) p.out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = Bits(d[i]);
}
template <typename T>
std::vector<uint32_t> ExpectMma(const std::vector<uint32_t>& in) {
  const size_t depth = 32 / sizeof(T);
  std::vector<uint32_t> out(128);
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      double sum = 1.0 + static_cast<double>(column % 2 + row / 8 * 2);
      for (size_t k = 0; k < depth; ++k) {
        sum += Number<T>(in, row * depth + k) * Number<T>(in, (16 + column) * depth + k);
      }
      out[row * 8 + column] = SumBits<T>(sum);
    }
  }
  return out;
}

// --- cp.async
// ---------------------------------------------------------------------------------------

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

// --- Shuffles, votes, tiles
// -------------------------------------------------------------------------

WEFT_KERNEL(32) void ShuffleKernel(const WEFT_PARAMS PrimitiveParams p) {
  const uint32_t lane = threadIdx.x;
  const uint32_t v = p.in[lane];
  const uint32_t all = 0xffffffffu;
  uint32_t r[12];
  r[0] = __shfl_sync(all, v, 5);
  r[1] = __shfl_sync(all, v, static_cast<int>(lane) + 3, 8);
  r[2] = __shfl_xor_sync(all, v, 9);
  r[3] = __shfl_down_sync(all, v, 3);
  r[4] = __shfl_up_sync(all, v, 3, 16);
  r[5] = __ballot_sync(all, (v & 1) != 0);
  r[6] = static_cast<uint32_t>(__any_sync(all, lane == 7) + 2 * __all_sync(all, lane < 31));
  r[7] = __reduce_add_sync(all, v);
  r[8] = __reduce_max_sync(all, v);
  const Tile<8> tile;
  r[9] = tile.Sum(v);
  r[10] = tile.Ballot((v & 2) != 0);
  r[11] = __match_any_sync(all, v % 3);
  for (uint32_t i = 0; i < 12; ++i) p.out[32 * i + lane] = r[i];
}
inline std::vector<uint32_t> ExpectShuffle(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(12 * 32);
  uint32_t odd = 0;
  uint32_t sum = 0;
  uint32_t most = 0;
  for (uint32_t i = 0; i < 32; ++i) {
    odd |= (in[i] & 1) << i;
    sum += in[i];
    most = in[i] > most ? in[i] : most;
  }
  for (uint32_t lane = 0; lane < 32; ++lane) {
    out[lane] = in[5];
    out[32 + lane] = in[(lane & ~7u) | ((lane + 3) & 7u)];
    out[64 + lane] = in[lane ^ 9];
    out[96 + lane] = in[lane + 3 < 32 ? lane + 3 : lane];
    out[128 + lane] = in[lane % 16 >= 3 ? lane - 3 : lane];
    out[160 + lane] = odd;
    out[192 + lane] = 1;
    out[224 + lane] = sum;
    out[256 + lane] = most;
    uint32_t eight = 0;
    uint32_t seconds = 0;
    for (uint32_t i = 0; i < 8; ++i) {
      eight += in[(lane & ~7u) + i];
      seconds |= (in[(lane & ~7u) + i] >> 1 & 1u) << i;
    }
    out[288 + lane] = eight;
    out[320 + lane] = seconds;
    for (uint32_t i = 0; i < 32; ++i) {
      if (in[i] % 3 == in[lane] % 3) out[352 + lane] |= 1u << i;
    }
  }
  return out;
}

// --- Conversions
// ------------------------------------------------------------------------------------

WEFT_KERNEL(256) void ConversionKernel(const WEFT_PARAMS PrimitiveParams p) {
  const uint32_t i = threadIdx.x;
  const float x = __uint_as_float(p.in[i]);
  const float y = __uint_as_float(p.in[i ^ 1]);
  p.out[i] = PackBf16x2(x, y);
  p.out[256 + i] = PackHalfx2(x, y);
  p.out[512 + i] = PackE4m3x4(x, y, -x, -y);
  p.out[768 + i] = FromFloat<Bf16>(x).bits | static_cast<uint32_t>(FromFloat<Half>(y).bits) << 16;
  p.out[1024 + i] = FromFloat<E4m3>(x).bits;
  p.out[1280 + i] = Bits(ToFloat(Half{static_cast<uint16_t>(i * 257 & 0xbfffu)}));
  p.out[1536 + i] = Bits(ToFloat(E4m3{static_cast<uint8_t>(i % 127 | (i & 128u))}));
}
inline std::vector<uint32_t> ConversionInput(uint32_t words) {
  std::vector<uint32_t> v(words);
  for (uint32_t i = 0; i < words; ++i) {
    // Half of them in the range of half and e4m3, with ties between neighbours among them; no NaN:
    // its sign in e4m3 is not specified.
    v[i] = i % 2 == 0 ? Random(i)
                      : number_internal::BitsOf(static_cast<float>(Small(i)) * 0x1.1p-6f *
                                                static_cast<float>(1u << i % 12));
    if ((v[i] & 0x7f800000u) == 0x7f800000u) v[i] &= 0xff800000u;
  }
  return v;
}
inline std::vector<uint32_t> ExpectConversion(const std::vector<uint32_t>& in) {
  namespace n = number_internal;
  std::vector<uint32_t> out(1792);
  for (uint32_t i = 0; i < 256; ++i) {
    const float x = n::FloatOf(in[i]);
    const float y = n::FloatOf(in[i ^ 1]);
    out[i] = n::Bf16Bits(x) | static_cast<uint32_t>(n::Bf16Bits(y)) << 16;
    out[256 + i] = n::HalfBits(x) | static_cast<uint32_t>(n::HalfBits(y)) << 16;
    out[512 + i] = n::E4m3Bits(x) | static_cast<uint32_t>(n::E4m3Bits(y)) << 8 |
                   static_cast<uint32_t>(n::E4m3Bits(-x)) << 16 |
                   static_cast<uint32_t>(n::E4m3Bits(-y)) << 24;
    out[768 + i] = n::Bf16Bits(x) | static_cast<uint32_t>(n::HalfBits(y)) << 16;
    out[1024 + i] = n::E4m3Bits(x);
    out[1280 + i] = n::BitsOf(n::HalfValue(static_cast<uint16_t>(i * 257 & 0xbfffu)));
    out[1536 + i] = n::BitsOf(n::E4m3Value(static_cast<uint8_t>(i % 127 | (i & 128u))));
  }
  return out;
}

// --- Named barriers: two warps hand 32 words back and forth
// -----------------------------------------

WEFT_KERNEL(64) void NamedBarrierKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_SHARED(uint32_t, slot, 32);
  const uint32_t lane = LaneId();
  for (uint32_t i = 0; i < 4; ++i) {
    if (threadIdx.x < 32) {
      if (i > 0) NamedBarrierSync(2, 64);
      slot[lane] = p.in[32 * i + lane];
      NamedBarrierArrive(1, 64);
    } else {
      NamedBarrierSync(1, 64);
      p.out[32 * i + lane] = slot[31 - lane];
      if (i < 3) NamedBarrierArrive(2, 64);
    }
  }
}
inline std::vector<uint32_t> ExpectNamedBarrier(const std::vector<uint32_t>& in) {
  std::vector<uint32_t> out(128);
  for (uint32_t i = 0; i < 128; ++i) out[i] = in[(i & ~31u) + 31 - i % 32];
  return out;
}

// --- mbarrier, bulk copies, TMA
// ---------------------------------------------------------------------

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

// --- wgmma: A [64, 128 bytes], then B of 64 columns
// -------------------------------------------------

// B is [64, 128 bytes] K-major, or [64, 64] N-major (16-bit types only).
template <typename T, bool kTransB, bool kFromRegisters>
WEFT_KERNEL(128, 1)
void WgmmaKernel(const WEFT_PARAMS PrimitiveParams p) {
  WEFT_DYNAMIC_SHARED(uint32_t, tile);
  WEFT_SHARED(uint64_t, barrier, 1);
  if (threadIdx.x == 0) {
    MbarrierInit(barrier, 1);
    FenceMbarrierInit();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    MbarrierArriveExpect(barrier, 16384);
    TensorLoad(tile, p.map, barrier, 0, 0);
    TensorLoad(tile + 2048, p.map, barrier, 0, 64);
  }
  MbarrierWait(barrier, 0);
  std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float> d[32];
  for (int i = 0; i < 32; ++i) d[i] = 0;
  const uint64_t a = MakeDescriptor(tile, 16, 1024, Swizzle::k128);
  const uint64_t b = MakeDescriptor(tile + 2048, kTransB ? 8192 : 16, 1024, Swizzle::k128);
  const uint32_t row = threadIdx.x / 32 * 16 + LaneId() / 4;
  const uint32_t t = threadIdx.x % 4;
  uint32_t fragments[4][4];
  if constexpr (kFromRegisters) {
    for (uint32_t k = 0; k < 4; ++k) {
      for (uint32_t i = 0; i < 4; ++i) {
        fragments[k][i] = p.in[(row + i % 2 * 8) * 32 + k * 8 + i / 2 * 4 + t];
      }
    }
  }
  WgmmaFence();
  WEFT_UNROLL
  for (uint32_t k = 0; k < 4; ++k) {
    // 32 bytes further along K: within the swizzle's row, or 16 rows down.
    const uint64_t next_a = a + 2 * k;
    const uint64_t next_b = b + (kTransB ? 128 : 2) * k;
    if constexpr (kFromRegisters) {
      if constexpr (std::is_same_v<T, Bf16>) {
        WgmmaBf16<64, kTransB>(d, fragments[k], next_b, k > 0);
      } else {
        WgmmaS8<64>(d, fragments[k], next_b, k > 0);
      }
    } else if constexpr (std::is_same_v<T, Bf16>) {
      WgmmaBf16<64, false, kTransB>(d, next_a, next_b, k > 0);
    } else if constexpr (std::is_same_v<T, Half>) {
      WgmmaHalf<64, false, kTransB>(d, next_a, next_b, k > 0);
    } else if constexpr (std::is_same_v<T, E4m3>) {
      WgmmaE4m3<64>(d, next_a, next_b, k > 0);
    } else {
      WgmmaS8<64>(d, next_a, next_b, k > 0);
    }
  }
  WgmmaCommit();
  WgmmaWait<0>();
  for (uint32_t i = 0; i < 32; ++i) {
    p.out[(row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + 2 * t + i % 2] = Bits(d[i]);
  }
}
template <typename T, bool kTransB>
std::vector<uint32_t> ExpectWgmma(const std::vector<uint32_t>& in) {
  const size_t depth = 128 / sizeof(T);
  std::vector<uint32_t> out(64 * 64);
  for (size_t row = 0; row < 64; ++row) {
    for (size_t column = 0; column < 64; ++column) {
      double sum = 0;
      for (size_t k = 0; k < depth; ++k) {
        const size_t b = 64 * depth + (kTransB ? k * 64 + column : column * depth + k);
        sum += Number<T>(in, row * depth + k) * Number<T>(in, b);
      }
      out[row * 64 + column] = SumBits<T>(sum);
    }
  }
  return out;
}

}  // namespace primitive

// Every case. sm_90a is needed for the last ones.
inline std::vector<PrimitiveCase> PrimitiveCases() {
  namespace p = primitive;
  TensorMapShape none;
  TensorMapShape wide;  // 24 rows of 64 bf16, in tiles of 32 rows
  wide.size[0] = 64;
  wide.size[1] = 24;
  wide.stride_bytes[1] = 128;
  wide.box[0] = 64;
  wide.box[1] = 32;
  wide.swizzle = Swizzle::k128;
  TensorMapShape narrow = wide;  // 48 rows of 32 bf16, in tiles of 64 rows
  narrow.size[0] = 32;
  narrow.size[1] = 48;
  narrow.stride_bytes[1] = 64;
  narrow.box[0] = 32;
  narrow.box[1] = 64;
  narrow.swizzle = Swizzle::k64;
  TensorMapShape thin = wide;  // 96 rows of 16 bf16, in tiles of 128 rows
  thin.size[0] = 16;
  thin.size[1] = 96;
  thin.stride_bytes[1] = 32;
  thin.box[0] = 16;
  thin.box[1] = 128;
  thin.swizzle = Swizzle::k32;
  TensorMapShape bytes;  // 128 rows of 128 bytes, in tiles of 64 rows
  bytes.type = TensorType::kU8;
  bytes.size[0] = 128;
  bytes.size[1] = 128;
  bytes.stride_bytes[1] = 128;
  bytes.box[0] = 128;
  bytes.box[1] = 64;
  bytes.swizzle = Swizzle::k128;
  return {
      {"ldmatrix", p::LoadMatrixKernel<false>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectLoadMatrix<false>, false, none},
      {"ldmatrix.trans", p::LoadMatrixKernel<true>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectLoadMatrix<true>, false, none},
      {"stmatrix", p::StoreMatrixKernel<false>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectStoreMatrix<false>, false, none},
      {"stmatrix.trans", p::StoreMatrixKernel<true>, 32, 512, 128, 128, p::RandomWords,
       p::ExpectStoreMatrix<true>, false, none},
      {"mma.bf16", p::MmaKernel<Bf16>, 32, 0, 192, 128, p::SmallNumbers<Bf16>, p::ExpectMma<Bf16>,
       false, none},
      {"mma.f16", p::MmaKernel<Half>, 32, 0, 192, 128, p::SmallNumbers<Half>, p::ExpectMma<Half>,
       false, none},
      {"mma.e4m3", p::MmaKernel<E4m3>, 32, 0, 192, 128, p::SmallNumbers<E4m3>, p::ExpectMma<E4m3>,
       false, none},
      {"mma.s8", p::MmaKernel<int8_t>, 32, 0, 192, 128, p::SmallNumbers<int8_t>,
       p::ExpectMma<int8_t>, false, none},
      {"cp.async", p::CopyAsyncKernel, 32, 1408, 352, 352, p::RandomWords, p::ExpectCopyAsync,
       false, none},
      {"shuffles and votes", p::ShuffleKernel, 32, 0, 32, 384, p::RandomWords, p::ExpectShuffle,
       false, none},
      {"conversions", p::ConversionKernel, 256, 0, 256, 1792, p::ConversionInput,
       p::ExpectConversion, false, none},
      {"named barriers", p::NamedBarrierKernel, 64, 0, 128, 128, p::RandomWords,
       p::ExpectNamedBarrier, false, none},
      {"mbarrier and bulk copies", p::BulkKernel, 64, 1024, 512, 512, p::RandomWords, p::ExpectBulk,
       false, none},
      {"TMA load, 128-byte swizzle", p::TensorLoadKernel, 64, 4096, 768, 1024, p::RandomWords,
       p::ExpectTensorLoad<Swizzle::k128, 32>, true, wide},
      {"TMA load, 64-byte swizzle", p::TensorLoadKernel, 64, 4096, 768, 1024, p::RandomWords,
       p::ExpectTensorLoad<Swizzle::k64, 16>, true, narrow},
      {"TMA load, 32-byte swizzle", p::TensorLoadKernel, 64, 4096, 768, 1024, p::RandomWords,
       p::ExpectTensorLoad<Swizzle::k32, 8>, true, thin},
      {"TMA store, 128-byte swizzle", p::TensorStoreKernel, 64, 4096, 768, 768, p::RandomWords,
       p::ExpectSame, true, wide},
      {"wgmma.bf16", p::WgmmaKernel<Bf16, false, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<Bf16>, p::ExpectWgmma<Bf16, false>, true, bytes},
      {"wgmma.f16, B N-major", p::WgmmaKernel<Half, true, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<Half>, p::ExpectWgmma<Half, true>, true, bytes},
      {"wgmma.e4m3", p::WgmmaKernel<E4m3, false, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<E4m3>, p::ExpectWgmma<E4m3, false>, true, bytes},
      {"wgmma.s8", p::WgmmaKernel<int8_t, false, false>, 128, 16384, 4096, 4096,
       p::SmallNumbers<int8_t>, p::ExpectWgmma<int8_t, false>, true, bytes},
      {"wgmma.bf16, A in registers, B N-major", p::WgmmaKernel<Bf16, true, true>, 128, 16384, 4096,
       4096, p::SmallNumbers<Bf16>, p::ExpectWgmma<Bf16, true>, true, bytes},
      {"wgmma.s8, A in registers", p::WgmmaKernel<int8_t, false, true>, 128, 16384, 4096, 4096,
       p::SmallNumbers<int8_t>, p::ExpectWgmma<int8_t, false>, true, bytes},
  };
}

}  // namespace weft::gpu
