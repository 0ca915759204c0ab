#include "libs/ops/pack_k.h"

#include <cstring>

#include "libs/ops/kernels.h"
#include "libs/tensor/block_formats.h"

namespace weft::cpu {
namespace {

using tensor_internal::Load16;

constexpr int kBlocks = 8;  // of 32, in a super-block

bool FiniteHalf(uint16_t half) { return (half & 0x7c00u) != 0x7c00u; }

void PutHalf(uint8_t* at, int lane, uint16_t half) { std::memcpy(at + 2 * lane, &half, 2); }

// Where input i (0..31) of `lane` lies among the pairs of vectors: which of the eight vectors, low
// ones first, and which byte of it.
int Vector(int i) { return i / 4; }
int Byte(int i, int lane) { return 4 * lane + i % 4; }

void PutNibble(uint8_t* tile, int i, int lane, int value) {
  tile[64 * (Vector(i) % 4) + Byte(i, lane)] |= static_cast<uint8_t>(i < 16 ? value : value << 4);
}

// Scale and minimum of block b: eight of each, 6 bits a piece, in 12 bytes (ggml's order).
void ScaleAndMinimum(const uint8_t* packed, int b, uint8_t* scale, uint8_t* minimum) {
  if (b < 4) {
    *scale = packed[b] & 63;
    *minimum = packed[b + 4] & 63;
  } else {
    *scale = static_cast<uint8_t>((packed[b + 4] & 15) | (packed[b - 4] >> 6 << 4));
    *minimum = static_cast<uint8_t>((packed[b + 4] >> 4) | (packed[b] >> 6 << 4));
  }
}

// Q4_K and Q5_K begin alike: half d, half dmin, 12 bytes of scales. False when one is not finite.
bool PackSuperHead(const uint8_t* src, int lane, uint8_t* super) {
  const uint16_t d = Load16(src);
  const uint16_t dmin = Load16(src + 2);
  PutHalf(super, lane, d);
  PutHalf(super + 32, lane, dmin ^ 0x8000);  // what the kernels add is -dmin * minimum
  for (int b = 0; b < kBlocks; ++b) {
    uint8_t* scales = super + 64 + 32 * b;
    ScaleAndMinimum(src + 4, b, scales + lane, scales + 16 + lane);
  }
  return FiniteHalf(d) && FiniteHalf(dmin);
}

}  // namespace

bool PackQ4KRow(const uint8_t* src, int64_t cols, int lane, uint8_t* group) {
  bool finite = true;
  for (int64_t at = 0; at < cols; at += 256, src += 144, group += kQ4KSuperBytes) {
    finite &= PackSuperHead(src, lane, group);
    for (int b = 0; b < kBlocks; ++b) {
      uint8_t* tile = group + kSuperHeadBytes + 256 * b;
      const uint8_t* q = src + 16 + 32 * (b / 2);
      for (int i = 0; i < kQBlock; ++i) {
        PutNibble(tile, i, lane, b % 2 == 0 ? q[i] & 15 : q[i] >> 4);
      }
    }
  }
  return finite;
}

bool PackQ5KRow(const uint8_t* src, int64_t cols, int lane, uint8_t* group) {
  bool finite = true;
  for (int64_t at = 0; at < cols; at += 256, src += 176, group += kQ5KSuperBytes) {
    finite &= PackSuperHead(src, lane, group);
    const uint8_t* fifth = src + 16;
    for (int b = 0; b < kBlocks; ++b) {
      uint8_t* tile = group + kSuperHeadBytes + 320 * b;
      const uint8_t* q = src + 48 + 32 * (b / 2);
      for (int i = 0; i < kQBlock; ++i) {
        PutNibble(tile, i, lane, b % 2 == 0 ? q[i] & 15 : q[i] >> 4);
        tile[256 + Byte(i, lane)] |= static_cast<uint8_t>(((fifth[i] >> b) & 1) << Vector(i));
      }
    }
  }
  return finite;
}

// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales (one per 16 inputs), half d;
// each half of 128 inputs in four interleaved rows.
bool PackQ6KRow(const uint8_t* src, int64_t cols, int lane, uint8_t* group) {
  bool finite = true;
  for (int64_t at = 0; at < cols; at += 256, src += 210, group += kQ6SuperBytes) {
    const uint16_t d = Load16(src + 208);
    finite &= FiniteHalf(d);
    PutHalf(group, lane, d);
    for (int b = 0; b < kBlocks; ++b) {
      uint8_t* scales = group + 32 + 32 * b;
      scales[lane] = src[192 + 2 * b];
      scales[16 + lane] = src[192 + 2 * b + 1];
      uint8_t* tile = group + 288 + 384 * b;
      const int row = b % 4;
      const uint8_t* low = src + 64 * (b / 4) + 32 * (row % 2);
      const uint8_t* high = src + 128 + 32 * (b / 4);
      for (int i = 0; i < kQBlock; ++i) {
        PutNibble(tile, i, lane, row < 2 ? low[i] & 15 : low[i] >> 4);
        const int pair = (high[i] >> (2 * row)) & 3;
        tile[256 + 64 * (i / 16) + Byte(i, lane)] |=
            static_cast<uint8_t>(pair << (2 * (Vector(i) % 4)));
      }
    }
  }
  return finite;
}

}  // namespace weft::cpu
