// Cases of what threads of a warp or block do together: shuffles, votes, tiles, named barriers; and
// of conversions. See primitive_cases.h.
#pragma once

#include "libs/device/tile.h"
#include "tests/support/primitive_case.h"

namespace weft::gpu::primitive {

// --- Shuffles, votes, tiles

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

// --- Two warps hand 32 words back and forth

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

}  // namespace weft::gpu::primitive
