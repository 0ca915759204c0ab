// GGUF's quantised blocks as tensor cores want them: an accessor per format.
//
// A warp's lane (g = lane / 4, t = lane % 4) owns columns 4t .. 4t + 3 and 16 + 4t .. 16 + 4t + 3
// of every 32. Codes(block, group, t, c) gives those eight as bf16 pairs:
//   c[0]: 4t, 4t + 2   c[1]: 4t + 1, 4t + 3   c[2], c[3]: the same, 16 later
// which is any order of K that suits the bytes; the activations are permuted alike (XPair). A code
// of up to 7 bits becomes bf16 in one operation, as 128 + code (bits 0x4300 | code); Scales() then
// takes the 128 back through `offset`, the factor of the sum of the activations:
//   sum w x = scale * sum (128 + code) x + offset * sum x
// Formats: ggml's block structs (ggml-common.h); libs/tensor/simple_formats.cc, k_formats.cc.
#pragma once

#include "libs/device/kernel.h"
#include "libs/device/ptx.h"

namespace weft::gpu {

// Of 16 columns each: the first and the second half of 32.
struct BlockScales {
  float scale[2];
  float offset[2];
};

WEFT_DEVICE uint32_t Load32(SharedPtr<const uint8_t> p) { return PtrCast<const uint32_t>(p)[0]; }
WEFT_DEVICE uint16_t Load16(SharedPtr<const uint8_t> p) { return PtrCast<const uint16_t>(p)[0]; }
// Of an even address.
WEFT_DEVICE uint32_t LoadEven32(SharedPtr<const uint8_t> p) {
  return Load16(p) | static_cast<uint32_t>(Load16(p + 2)) << 16;
}
WEFT_DEVICE float LoadHalf(SharedPtr<const uint8_t> p) { return ToFloat(Half{Load16(p)}); }

constexpr uint32_t kBf16Bias128 = 0x43004300u;
constexpr uint32_t kOnes = 0x3f803f80u;  // bf16 pair

// Four bytes' low nibbles, bytes 0 and 2 in one pair, 1 and 3 in the other.
WEFT_DEVICE void NibblePairs(uint32_t bytes, uint32_t (&c)[2]) {
  c[0] = (bytes & 0x000f000fu) | kBf16Bias128;
  c[1] = (bytes >> 8 & 0x000f000fu) | kBf16Bias128;
}

struct BlocksQ4_0 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 18;
  static constexpr int kSlice = 256;  // columns of one copy
  static constexpr bool kBiased = true;
  static constexpr int kResident = 2;  // blocks of a skinny product on a multiprocessor
  WEFT_DEVICE static void Codes(SharedPtr<const uint8_t> block, int, int t, uint32_t (&c)[4]) {
    const uint32_t bytes = LoadEven32(block + 2 + 4 * t);
    uint32_t low[2], high[2];
    NibblePairs(bytes, low);
    NibblePairs(bytes >> 4, high);
    c[0] = low[0], c[1] = low[1], c[2] = high[0], c[3] = high[1];
  }
  WEFT_DEVICE static BlockScales Scales(SharedPtr<const uint8_t> block, int) {
    const float d = LoadHalf(block);
    return {{d, d}, {-136.0f * d, -136.0f * d}};
  }
};

struct BlocksQ4_1 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 20;
  static constexpr int kSlice = 256;
  static constexpr bool kBiased = true;
  static constexpr int kResident = 2;
  WEFT_DEVICE static void Codes(SharedPtr<const uint8_t> block, int, int t, uint32_t (&c)[4]) {
    const uint32_t bytes = Load32(block + 4 + 4 * t);
    uint32_t low[2], high[2];
    NibblePairs(bytes, low);
    NibblePairs(bytes >> 4, high);
    c[0] = low[0], c[1] = low[1], c[2] = high[0], c[3] = high[1];
  }
  WEFT_DEVICE static BlockScales Scales(SharedPtr<const uint8_t> block, int) {
    const uint32_t both = Load32(block);
    const float d = ToFloat(Half{static_cast<uint16_t>(both)});
    const float m = ToFloat(Half{static_cast<uint16_t>(both >> 16)}) - 128.0f * d;
    return {{d, d}, {m, m}};
  }
};

struct BlocksQ8_0 {
  static constexpr int kBlock = 32;
  static constexpr int kBytes = 34;
  static constexpr int kSlice = 128;
  static constexpr bool kBiased = false;
  static constexpr int kResident = 2;
  // Signed bytes 0 and 2, 1 and 3 as bf16, exact: 2^23 + 128 + byte is a float's bits with the
  // byte, its sign bit turned, at their end.
  WEFT_DEVICE static void BytePairs(uint32_t bytes, uint32_t* c) {
    constexpr float kBase = 8388736.0f;
    const uint32_t turned = bytes ^ 0x80808080u;
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[i] = __uint_as_float(0x4b000000u | (turned >> (8 * i) & 0xffu)) - kBase;
    }
    c[0] = PackBf16x2(v[0], v[2]);
    c[1] = PackBf16x2(v[1], v[3]);
  }
  WEFT_DEVICE static void Codes(SharedPtr<const uint8_t> block, int, int t, uint32_t (&c)[4]) {
    BytePairs(LoadEven32(block + 2 + 4 * t), c);
    BytePairs(LoadEven32(block + 18 + 4 * t), c + 2);
  }
  WEFT_DEVICE static BlockScales Scales(SharedPtr<const uint8_t> block, int) {
    const float d = LoadHalf(block);
    return {{d, d}, {0, 0}};
  }
};

struct BlocksQ4_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 144;
  static constexpr int kSlice = 256;
  static constexpr bool kBiased = true;
  static constexpr int kResident = 1;  // bounded for two, it spills
  WEFT_DEVICE static void Codes(SharedPtr<const uint8_t> block, int group, int t,
                                uint32_t (&c)[4]) {
    const SharedPtr<const uint8_t> nibbles = block + 16 + 32 * (group / 2) + 4 * t;
    const int shift = group % 2 * 4;
    uint32_t low[2], high[2];
    NibblePairs(Load32(nibbles) >> shift, low);
    NibblePairs(Load32(nibbles + 16) >> shift, high);
    c[0] = low[0], c[1] = low[1], c[2] = high[0], c[3] = high[1];
  }
  WEFT_DEVICE static BlockScales Scales(SharedPtr<const uint8_t> block, int group) {
    const uint32_t both = Load32(block);
    const uint32_t low = block[4 + group % 4], middle = block[8 + group % 4];
    uint32_t scale = low & 63u, offset = middle & 63u;
    if (group >= 4) {
      const uint32_t nibbles = block[8 + group];
      scale = (nibbles & 15u) | (low >> 6) << 4;
      offset = nibbles >> 4 | (middle >> 6) << 4;
    }
    const float d = ToFloat(Half{static_cast<uint16_t>(both)}) * static_cast<float>(scale);
    const float m =
        -ToFloat(Half{static_cast<uint16_t>(both >> 16)}) * static_cast<float>(offset) - 128.0f * d;
    return {{d, d}, {m, m}};
  }
};

struct BlocksQ6_K {
  static constexpr int kBlock = 256;
  static constexpr int kBytes = 210;
  static constexpr int kSlice = 256;
  static constexpr bool kBiased = true;
  static constexpr int kResident = 2;
  WEFT_DEVICE static void Codes(SharedPtr<const uint8_t> block, int group, int t,
                                uint32_t (&c)[4]) {
    const int half = group / 4;
    const int row = group % 4;
    const SharedPtr<const uint8_t> nibbles = block + 64 * half + 32 * (row % 2) + 4 * t;
    const SharedPtr<const uint8_t> pairs = block + 128 + 32 * half + 4 * t;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t low = LoadEven32(nibbles + 16 * i) >> (row < 2 ? 0 : 4) & 0x0f0f0f0fu;
      const uint32_t high = LoadEven32(pairs + 16 * i) >> (2 * row) & 0x03030303u;
      const uint32_t six = low | high << 4;
      c[2 * i] = (six & 0x003f003fu) | kBf16Bias128;
      c[2 * i + 1] = (six >> 8 & 0x003f003fu) | kBf16Bias128;
    }
  }
  WEFT_DEVICE static BlockScales Scales(SharedPtr<const uint8_t> block, int group) {
    const float d = LoadHalf(block + 208);
    const uint32_t both = Load16(block + 192 + 2 * group);
    const float first = d * static_cast<float>(static_cast<int8_t>(both & 0xffu));
    const float second = d * static_cast<float>(static_cast<int8_t>(both >> 8));
    return {{first, second}, {-160.0f * first, -160.0f * second}};
  }
};

// x[row][k] on, four elements, as mma's b registers of gpu_blocks.h's order; zero beyond the rows.
WEFT_DEVICE uint2 XQuad(GlobalPtr<const uint16_t> x, bool there) {
  return there ? PtrCast<const uint2>(x)[0] : make_uint2(0, 0);
}
WEFT_DEVICE void XPair(uint2 quad, uint32_t (&b)[2]) {
  b[0] = __byte_perm(quad.x, quad.y, 0x5410);
  b[1] = __byte_perm(quad.x, quad.y, 0x7632);
}

constexpr int GreatestDivisor(int a, int b) { return b == 0 ? a : GreatestDivisor(b, a % b); }

// How slices of successive outputs lie in shared memory.
template <typename F>
struct Staging {
  static constexpr int kBytes = F::kSlice / F::kBlock * F::kBytes;  // of one output's slice
  // Copies are of 16 bytes from the sector on in which a slice begins, at most this far in it.
  static constexpr int kSkew = 32 - GreatestDivisor(F::kBytes, 32);
  static constexpr int kChunks = (kSkew + kBytes + 15) / 16;
  static_assert(kChunks > 8 && kChunks <= 16);
  // An odd number of 16 bytes: eight outputs' words lie in different banks.
  static constexpr int kPitch = (kChunks % 2 == 1 ? kChunks : kChunks + 1) * 16;
};

// Slices of the outputs from `first` on, of a matrix whose first row is at `weights`.
template <typename F>
struct SliceSource {
  using S = Staging<F>;
  GlobalPtr<const uint8_t> weights;
  int64_t first;
  int64_t outputs;
  int64_t row_bytes;

  // Where a slice lies; of the last output where there is no such one. In shared memory it begins
  // at Offset % 32 of its row.
  WEFT_DEVICE int64_t Offset(int output, int slice) const {
    const int64_t n = first + output < outputs ? first + output : outputs - 1;
    return n * row_bytes + static_cast<int64_t>(slice) * S::kBytes;
  }
  // Begins to copy a slice of kOutputs outputs, as one of kThreads threads. Eight lanes, which
  // store to shared memory at once, have the first eight 16 bytes of an output, then the rest of
  // one or of two whose rows lie half the banks apart. What a slice does not need becomes zeros.
  template <int kOutputs, int kThreads>
  WEFT_DEVICE void Copy(int slice, SharedPtr<uint8_t> to, int thread) const {
    constexpr int kRest = S::kChunks - 8;
    constexpr int kShare = kRest <= 4 ? 2 : 1;  // outputs of eight lanes
    static_assert(kOutputs % 8 == 0);
#pragma unroll 1  // unrolled, its addresses cost a block of a multiprocessor
    for (int i = thread; i < kOutputs * 8; i += kThreads) {
      const Piece piece = PieceOf(slice, i / 8, i % 8);
      CopyAsyncZeroFill<16>(to + piece.to, weights + piece.from, piece.bytes);
    }
#pragma unroll 1
    for (int i = thread; i < kOutputs * 8 / kShare; i += kThreads) {
      const int output = kShare == 1 ? i / 8 : i / 32 * 8 + i / 8 % 4 + i % 8 / 4 * 4;
      const int chunk = 8 + i % (8 / kShare);
      if (chunk >= S::kChunks) continue;
      const Piece piece = PieceOf(slice, output, chunk);
      CopyAsyncZeroFill<16>(to + piece.to, weights + piece.from, piece.bytes);
    }
  }

 private:
  struct Piece {
    int to;
    int64_t from;
    int bytes;
  };
  // The 16 bytes that are number `chunk` of an output's slice.
  WEFT_DEVICE Piece PieceOf(int slice, int output, int chunk) const {
    const int64_t begin = Offset(output, slice);
    const int64_t from = begin / 32 * 32 + 16 * chunk;
    const int64_t row_end = Offset(output, 0) + row_bytes;
    const int64_t needed = begin + S::kBytes < row_end ? begin + S::kBytes : row_end;
    const int64_t left = outputs * row_bytes - from;
    const int bytes = from >= needed ? 0 : left < 16 ? static_cast<int>(left) : 16;
    return {output * S::kPitch + 16 * chunk, bytes == 0 ? 0 : from, bytes};
  }
};

}  // namespace weft::gpu
