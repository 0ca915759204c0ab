// A part of a warp that works on its own: cooperative groups' tiled partition, the same under nvcc
// and in the emulator. All threads of a tile call its functions together.
#pragma once

#include "libs/device/kernel.h"

namespace weft::gpu {

// kSize: 1, 2, 4, 8, 16 or 32 neighbouring lanes.
template <int kSize>
class Tile {
  static_assert(kSize >= 1 && kSize <= 32 && (kSize & (kSize - 1)) == 0);

 public:
  WEFT_DEVICE Tile() {
    const uint32_t linear = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const uint32_t lane = linear % 32;
    rank_ = lane % kSize;
    index_ = linear / kSize;
    shift_ = lane - rank_;
    if constexpr (kSize == 32) {
      mask_ = 0xffffffffu;
    } else {
      mask_ = ((1u << kSize) - 1) << shift_;
    }
  }

  WEFT_DEVICE uint32_t Rank() const { return rank_; }    // of this thread in its tile
  WEFT_DEVICE uint32_t Index() const { return index_; }  // of this tile in its block
  WEFT_DEVICE uint32_t Mask() const { return mask_; }

  WEFT_DEVICE void Sync() const { __syncwarp(mask_); }
  template <typename T>
  WEFT_DEVICE T Shuffle(T value, int from) const {
    return __shfl_sync(mask_, value, from, kSize);
  }
  template <typename T>
  WEFT_DEVICE T ShuffleXor(T value, int with) const {
    return __shfl_xor_sync(mask_, value, with, kSize);
  }
  template <typename T>
  WEFT_DEVICE T ShuffleDown(T value, unsigned by) const {
    return __shfl_down_sync(mask_, value, by, kSize);
  }
  template <typename T>
  WEFT_DEVICE T ShuffleUp(T value, unsigned by) const {
    return __shfl_up_sync(mask_, value, by, kSize);
  }
  // Bit i: the predicate of rank i.
  WEFT_DEVICE uint32_t Ballot(bool predicate) const {
    return (__ballot_sync(mask_, predicate) & mask_) >> shift_;
  }
  WEFT_DEVICE bool Any(bool predicate) const { return Ballot(predicate) != 0; }
  WEFT_DEVICE bool All(bool predicate) const { return Ballot(!predicate) == 0; }
  // In every thread, by halving: the order of the additions is the same for any input.
  template <typename T>
  WEFT_DEVICE T Sum(T value) const {
    WEFT_UNROLL
    for (int apart = kSize / 2; apart > 0; apart /= 2) value += ShuffleXor(value, apart);
    return value;
  }
  template <typename T>
  WEFT_DEVICE T Max(T value) const {
    WEFT_UNROLL
    for (int apart = kSize / 2; apart > 0; apart /= 2) {
      const T other = ShuffleXor(value, apart);
      value = value < other ? other : value;
    }
    return value;
  }

 private:
  uint32_t rank_;
  uint32_t index_;
  uint32_t shift_;
  uint32_t mask_;
};

}  // namespace weft::gpu
