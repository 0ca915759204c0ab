// The quantised layouts as the kernels see them. Included only by kernels_*.cc.
//
// Every layout is read in the same steps: a block of 32 inputs x 16 outputs is four pairs of
// 64-byte vectors, pair j holding inputs 4j..4j+3 (low) and 16 + 4j..19 + 4j (high) of the 16
// outputs. What differs is where the bits lie, and the scales:
//
//   Layout::kQ4    320 bytes a block: 256 of nibbles, 16 half scales, 16 half offsets
//   Layout::kQ8    544 bytes a block: 512 signed bytes, 16 half scales
//   Layout::kQ4K   super-block of 256: 16 half d, 16 half -dmin, 8 x (16 byte scales, 16 byte
//                  minima), 8 x 256 nibbles
//   Layout::kQ5K   the same, each block followed by 64 bytes whose bit v is the fifth bit of
//                  vector v (low 0..3, high 0..3)
//   Layout::kCodes 640 bytes a block: 512 signed bytes, 16 float scales of the low vectors, 16 of
//   the
//                  high ones; kCodesOffset: then 2 x 16 float offsets
//   Layout::kQ6    super-block of 256: 16 half d, 8 x (16 signed scales of the low vectors, 16 of
//                  the high ones), 8 x (256 nibbles, 64 bytes with two more bits of each low
//                  vector, 64 of each high one)
#pragma once

#include <cstdint>

#include "libs/ops/kernels.h"

namespace weft::cpu {

// How the integer products of a block are summed.
enum class Sum : uint8_t {
  kBits4,   // weights 0..15, one sum
  kBits5,   // weights 0..31, one sum
  kBits6,   // weights 0..63 that stand for -32..31; a sum for each half, since each has its scale
  kSigned,  // weights -128..127, one sum
  kSignedHalves,  // the same, a sum for each half
};
constexpr bool HasHalves(Sum sum) { return sum == Sum::kBits6 || sum == Sum::kSignedHalves; }

// What is added beside the products: nothing, an offset times the sum of the block's inputs, or two
// offsets times the sums of its halves.
enum class Offsets : uint8_t { kNone, kBlock, kHalves };

inline constexpr int64_t kSuper = 8;  // blocks of a super-block

template <typename S>
struct Q4Tile {
  static constexpr Sum kSum = Sum::kBits4;
  static constexpr Offsets kOffsets = Offsets::kBlock;

  Q4Tile(const uint8_t* group, int64_t block) : tile(group + block * kQ4TileBytes) {}
  typename S::Pair Load(int j) const { return S::LoadNibbles(tile + 64 * j); }
  typename S::F Scale(int) const { return S::LoadHalf(Halves(tile + 256)); }
  typename S::F Offset(int) const { return S::LoadHalf(Halves(tile + 288)); }

  static const uint16_t* Halves(const uint8_t* p) { return reinterpret_cast<const uint16_t*>(p); }
  const uint8_t* tile;
};

template <typename S>
struct Q8Tile {
  static constexpr Sum kSum = Sum::kSigned;
  static constexpr Offsets kOffsets = Offsets::kNone;

  Q8Tile(const uint8_t* group, int64_t block) : tile(group + block * kQ8TileBytes) {}
  typename S::Pair Load(int j) const { return S::LoadSigned(tile + 64 * j, tile + 256 + 64 * j); }
  typename S::F Scale(int) const {
    return S::LoadHalf(reinterpret_cast<const uint16_t*>(tile + 512));
  }
  const uint8_t* tile;
};

template <typename S, bool kWithOffsets>
struct CodesTile {
  static constexpr Sum kSum = Sum::kSignedHalves;
  static constexpr Offsets kOffsets = kWithOffsets ? Offsets::kHalves : Offsets::kNone;

  CodesTile(const uint8_t* group, int64_t block)
      : tile(group + block * (kWithOffsets ? kCodesOffsetTileBytes : kCodesTileBytes)) {}
  typename S::Pair Load(int j) const { return S::LoadSigned(tile + 64 * j, tile + 256 + 64 * j); }
  typename S::F Scale(int half) const { return Floats(512 + 64 * half); }
  typename S::F Offset(int half) const { return Floats(640 + 64 * half); }

  typename S::F Floats(int at) const { return S::Load(reinterpret_cast<const float*>(tile + at)); }
  const uint8_t* tile;
};

// The common part of Q4_K and Q5_K.
template <typename S, int64_t kBlockBytes>
struct SuperTile {
  static constexpr Offsets kOffsets = Offsets::kBlock;

  SuperTile(const uint8_t* group, int64_t block)
      : super(group + block / kSuper * (kSuperHeadBytes + kSuper * kBlockBytes)),
        scales(super + 64 + 32 * (block % kSuper)),
        tile(super + kSuperHeadBytes + kBlockBytes * (block % kSuper)) {}
  // 11 bits times 6: exact.
  typename S::F Scale(int) const {
    return S::Mul(S::LoadHalf(reinterpret_cast<const uint16_t*>(super)), S::LoadUnsigned(scales));
  }
  typename S::F Offset(int) const {
    return S::Mul(S::LoadHalf(reinterpret_cast<const uint16_t*>(super + 32)),
                  S::LoadUnsigned(scales + 16));
  }
  const uint8_t* super;
  const uint8_t* scales;
  const uint8_t* tile;
};

template <typename S>
struct Q4KTile : SuperTile<S, 256> {
  static constexpr Sum kSum = Sum::kBits4;
  using SuperTile<S, 256>::SuperTile;
  typename S::Pair Load(int j) const { return S::LoadNibbles(this->tile + 64 * j); }
};

template <typename S>
struct Q5KTile : SuperTile<S, 320> {
  static constexpr Sum kSum = Sum::kBits5;
  using SuperTile<S, 320>::SuperTile;
  typename S::Pair Load(int j) const {
    return S::AddFifthBit(S::LoadNibbles(this->tile + 64 * j), this->tile + 256, j);
  }
};

template <typename S>
struct Q6Tile {
  static constexpr Sum kSum = Sum::kBits6;
  static constexpr Offsets kOffsets = Offsets::kNone;

  Q6Tile(const uint8_t* group, int64_t block)
      : super(group + block / kSuper * kQ6SuperBytes),
        scales(super + 32 + 32 * (block % kSuper)),
        tile(super + 288 + 384 * (block % kSuper)) {}
  typename S::Pair Load(int j) const {
    return S::AddTwoBits(S::LoadNibbles(tile + 64 * j), tile + 256, j);
  }
  // 11 bits times 8: exact.
  typename S::F Scale(int half) const {
    return S::Mul(S::LoadHalf(reinterpret_cast<const uint16_t*>(super)),
                  S::LoadSignedBytes(scales + 16 * half));
  }
  const uint8_t* super;
  const uint8_t* scales;
  const uint8_t* tile;
};

}  // namespace weft::cpu
