// Attention of 16 (row, head) pairs by four warps, the part of attention_gpu.h's mathematics that a
// block of PagedAttentionKernel does alone, and several units of a block of the kernels that mix
// prefill and decode rows.
#pragma once

#include "libs/device/ptx.h"
#include "libs/ops/attention_tile_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

// Four warps of a block, from a multiple of 128 threads on: the first or the second of kUnits.
template <int kUnits>
struct AttentionUnit {
  static_assert(kUnits <= 2);
  int number;
  int thread;  // of the unit
  int warp;

  WEFT_DEVICE explicit AttentionUnit(int first_thread = 0)
      : number((static_cast<int>(threadIdx.x) - first_thread) / kAttentionThreads),
        thread(static_cast<int>(threadIdx.x) % kAttentionThreads),
        warp(WarpId() % kAttentionWarps) {}
  // Waits for the unit's other threads. Numbers that the compiler knows: it would reserve all 16.
  WEFT_DEVICE void Sync() const {
    if (kUnits == 1 || number == 0) {
      NamedBarrierSync(1, kAttentionThreads);
    } else {
      NamedBarrierSync(2, kAttentionThreads);
    }
  }
};

template <int kDim, KvType kType>
struct AttentionShared {
  using T = AttentionTile<kDim, kType>;
  static constexpr int kPitch = T::kPitch;
  // Floats of a row of sums. A warp reads two rows of 16: they lie in different banks.
  static constexpr int kSumPitch = kDim == 16 ? 48 : kDim + 8;
  // Two stages; where they are bytes, their expanded form too. Then the warp's sums.
  static constexpr int kWide = 2 * T::kStageBytes;
  static constexpr int kTiles = kWide + (kType == KvType::kFp8 ? T::kWideBytes : 0);
  static constexpr int kSumBytes = kRows * kSumPitch * 4;
  static constexpr int kWarpBytes = kTiles > kSumBytes ? kTiles : kSumBytes;
  static constexpr int kQ = kAttentionWarps * kWarpBytes;
  static constexpr int kRunning = kQ + kRows * kPitch;         // float [kRows][kDim]
  static constexpr int kWarpMl = kRunning + kRows * kDim * 4;  // float [warps][kRows][2]
  static constexpr int kRunningMl = kWarpMl + kAttentionWarps * kRows * 2 * 4;
  static constexpr int kBytes = kRunningMl + kRows * 2 * 4;
};

// A warp's sums to shared memory, where the block merges: over its own stages, which are done with.
template <int kDim, KvType kType, typename Unit>
WEFT_DEVICE void StoreSums(const Unit& unit, WarpAttention<kDim, kType>& warp,
                           SharedPtr<uint8_t> shared) {
  using S = AttentionShared<kDim, kType>;
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  const SharedPtr<float> sums = PtrCast<float>(shared + unit.warp * S::kWarpBytes);
  const SharedPtr<float> ml = PtrCast<float>(shared + S::kWarpMl) + unit.warp * kRows * 2;
  warp.EndChain();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = g + 8 * half;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      PtrCast<float2>(sums + row * S::kSumPitch + 8 * j + 2 * t)[0] =
          make_float2(warp.o[j][2 * half], warp.o[j][2 * half + 1]);
    }
    if (t == 0) {
      ml[2 * row] = warp.m[half];
      ml[2 * row + 1] = warp.l[half];
    }
  }
}

// Adds what the warps stored to the unit's running sums, warps ascending. All its threads.
template <int kDim, KvType kType, typename Unit>
WEFT_DEVICE void MergeWarps(const Unit& unit, SharedPtr<uint8_t> shared, bool first) {
  using S = AttentionShared<kDim, kType>;
  const SharedPtr<float> running = PtrCast<float>(shared + S::kRunning);
  const SharedPtr<float> running_ml = PtrCast<float>(shared + S::kRunningMl);
  const SharedPtr<float> ml = PtrCast<float>(shared + S::kWarpMl);
  for (int i = unit.thread; i < kRows * kDim; i += kAttentionThreads) {
    const int row = i / kDim;
    // The chunk's own sum first, so that it is the same wherever it is made.
    float m = kNone;
    float o = 0;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float other = ml[(w * kRows + row) * 2];
      const float both = fmaxf(m, other);
      const float sum = PtrCast<float>(shared + w * S::kWarpBytes)[row * S::kSumPitch + i % kDim];
      o = Blend(o, Weight(m, both), sum, Weight(other, both));
      m = both;
    }
    if (first) {
      running[i] = o;
    } else {
      const float before = running_ml[2 * row];
      const float both = fmaxf(before, m);
      running[i] = Blend(running[i], Weight(before, both), o, Weight(m, both));
    }
  }
  unit.Sync();
  if (unit.thread < kRows) {
    const int row = unit.thread;
    float m = kNone;
    float l = 0;
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float other = ml[(w * kRows + row) * 2];
      const float both = fmaxf(m, other);
      l = Blend(l, Weight(m, both), ml[(w * kRows + row) * 2 + 1], Weight(other, both));
      m = both;
    }
    if (!first) {
      const float before = running_ml[2 * row];
      const float both = fmaxf(before, m);
      l = Blend(running_ml[2 * row + 1], Weight(before, both), l, Weight(m, both));
      m = both;
    }
    running_ml[2 * row] = m;
    running_ml[2 * row + 1] = l;
  }
  unit.Sync();
}

// What `block` of the grid AttentionGrid(p) computes, in AttentionShared::kBytes of shared memory.
template <int kDim, KvType kType, typename Unit>
WEFT_DEVICE void AttendUnit(const AttentionParams& p, const Unit& unit, const AttentionBlock& block,
                            SharedPtr<uint8_t> shared) {
  using S = AttentionShared<kDim, kType>;
  using T = AttentionTile<kDim, kType>;
  AttentionPlace at;
  if (!PlaceOfBlock(p, p.items, block, at)) return;
  LoadQueries<kDim, kType, kRows, kAttentionThreads>(p, at, shared + S::kQ, unit.thread);
  unit.Sync();

  WarpAttention<kDim, kType> warp;
  warp.KeepQueries(shared + S::kQ);
  const SharedPtr<uint8_t> own = shared + unit.warp * S::kWarpBytes;
  const int only = at.chunk;
  for (bool first = true; at.chunk <= at.last_chunk; ++at.chunk, first = false) {
    warp.Reset();
    const int base = at.chunk * kChunkTokens;
    int tile = unit.warp;
    // Tiles before the first visible token are all masked: they would change nothing.
    while (base + (tile + 1) * kTileTokens <= at.first_token) tile += kAttentionWarps;
    const auto there = [&](int i) {
      return i < kTilesPerChunk && base + i * kTileTokens < at.tokens;
    };
    if (there(tile)) T::Copy(p, at, base + tile * kTileTokens, own, Lane());
    CopyAsyncCommit();
    for (int stage = 0; there(tile); tile += kAttentionWarps, stage ^= 1) {
      const int next = tile + kAttentionWarps;
      if (there(next)) {
        T::Copy(p, at, base + next * kTileTokens, own + (stage ^ 1) * T::kStageBytes, Lane());
      }
      CopyAsyncCommit();
      CopyAsyncWait<1>();
      __syncwarp();
      SharedPtr<uint8_t> wide = own + stage * T::kStageBytes;
      if constexpr (kType == KvType::kFp8) {
        T::Expand(wide, own + S::kWide, Lane());
        wide = own + S::kWide;
        __syncwarp();
      }
      warp.Tile(p, at, base + tile * kTileTokens, shared + S::kQ, wide);
      __syncwarp();  // the stage may be overwritten now
    }
    CopyAsyncWait<0>();
    __syncwarp();
    StoreSums(unit, warp, shared);
    unit.Sync();
    MergeWarps<kDim, kType>(unit, shared, first);
  }
  FinishAttention<kDim>(p, at, only, PtrCast<float>(shared + S::kRunning), kDim,
                        PtrCast<float>(shared + S::kRunningMl), unit.thread);
}

// Kernels that mix: blocks [0, of prefill) have prefill items, the later ones kUnits units each.
template <int kPacked>
WEFT_HOST_DEVICE int PrefillBlocks(const AttentionParams& p) {
  return p.prefill_count * p.kv_heads * BlocksOfGroup<kPacked>(p);
}
template <int kPacked, int kUnits>
uint32_t MixedBlocks(const AttentionParams& p) {
  const int units = p.item_count * p.kv_heads * BlocksOfGroup<kRows>(p) * p.chunks;
  return static_cast<uint32_t>(PrefillBlocks<kPacked>(p) + (units + kUnits - 1) / kUnits);
}
// What the units of the later blocks do.
template <int kDim, KvType kType, int kUnits>
WEFT_DEVICE void AttendMixed(const AttentionParams& p, const AttentionUnit<kUnits>& unit, int block,
                             SharedPtr<uint8_t> shared) {
  const int number = block * kUnits + unit.number;
  const int heads = p.kv_heads * BlocksOfGroup<kRows>(p);
  const AttentionBlock of{number % p.item_count, number / p.item_count % heads,
                          number / p.item_count / heads};
  if (of.chunk >= p.chunks) return;
  AttendUnit<kDim, kType>(p, unit, of, shared + unit.number * AttentionShared<kDim, kType>::kBytes);
}

}  // namespace weft::gpu
