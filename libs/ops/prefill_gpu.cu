// See prefill_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: MixedAttentionKernel<16, 0>, shared 29440
// occupancy: MixedAttentionKernel<16, 1>, shared 29440
// occupancy: MixedAttentionKernel<16, 2>, shared 29440
// occupancy: MixedAttentionKernel<32, 0>, shared 48896
// occupancy: MixedAttentionKernel<32, 1>, shared 48896
// occupancy: MixedAttentionKernel<32, 2>, shared 45056
// occupancy: MixedAttentionKernel<64, 0>, shared 88064
// occupancy: MixedAttentionKernel<64, 1>, shared 88064
// occupancy: MixedAttentionKernel<64, 2>, shared 86016
// occupancy: MixedAttentionKernel<80, 0>, shared 108544
// occupancy: MixedAttentionKernel<80, 1>, shared 108544
// occupancy: MixedAttentionKernel<80, 2>, shared 106496
// occupancy: MixedAttentionKernel<96, 0>, shared 129024
// occupancy: MixedAttentionKernel<96, 1>, shared 129024
// occupancy: MixedAttentionKernel<96, 2>, shared 126976
// occupancy: MixedAttentionKernel<128, 0>, shared 169984
// occupancy: MixedAttentionKernel<128, 1>, shared 169984
// occupancy: MixedAttentionKernel<128, 2>, shared 167936
// occupancy: MixedAttentionKernel<256, 0>, shared 198656
// occupancy: MixedAttentionKernel<256, 1>, shared 198656
// occupancy: MixedAttentionKernel<256, 2>, shared 198144
#include "libs/device/ptx.h"
#include "libs/ops/attention_decode_gpu.h"
#include "libs/ops/attention_tile_gpu.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/prefill_gpu.h"

namespace weft::gpu {

constexpr int kChains = kAttentionWarps;  // of a chunk, as attention_gpu.h deals tiles to warps
constexpr int kChainTiles = kTilesPerChunk / kChains;

template <int kDim, KvType kType>
struct PrefillShape {
  using T = AttentionTile<kDim, kType>;
  static constexpr int kPacked = PrefillPairs(kDim);
  static constexpr int kWarps = kPacked / kRows;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kStepTiles = kDim > 128 ? 1 : 4;  // of one copy
  static constexpr int kStepsPerChain = kChainTiles / kStepTiles;
  static constexpr int kStepThreads = kThreads / kStepTiles;  // that copy a tile
  // The chunk's sums stay in registers beside the chain's where there is room.
  static constexpr bool kChunkInRegisters = kDim <= 128;
  static constexpr int kSums = kDim / 8 * 4;  // of a lane
  static constexpr int kStageBytes = kStepTiles * T::kStageBytes;
  static constexpr int kWide = 2 * kStageBytes;
  static constexpr int kQ = kWide + (kType == KvType::kFp8 ? kStepTiles * T::kWideBytes : 0);
  static constexpr int kRunning = kQ + kPacked * T::kPitch;  // float [warps][kSums][32]
  static constexpr int kChunk = kRunning + kThreads * kSums * 4;
  static constexpr int kPrefillBytes = kChunk + (kChunkInRegisters ? 0 : kThreads * kSums * 4);
  static constexpr int kUnits = kThreads / kAttentionThreads;  // of a block with decode rows
  static constexpr int kUnitBytes = kUnits * AttentionShared<kDim, kType>::kBytes;
  static constexpr int kBytes = kPrefillBytes > kUnitBytes ? kPrefillBytes : kUnitBytes;
};

// The tiles that are copied together: successive ones of a chain of a chunk.
template <typename Shape>
struct PrefillStep {
  int chunk;
  int chain = 0;
  int part = 0;

  WEFT_DEVICE int Token(int tile) const {
    return chunk * kChunkTokens +
           (chain + kChains * (part * Shape::kStepTiles + tile)) * kTileTokens;
  }
  // Whether a row of the block sees any of it.
  WEFT_DEVICE bool Seen(const AttentionPlace& at) const {
    return Token(0) < at.tokens && Token(Shape::kStepTiles - 1) + kTileTokens > at.first_token;
  }
  WEFT_DEVICE bool EndsChain() const { return part + 1 == Shape::kStepsPerChain; }
  WEFT_DEVICE bool EndsChunk() const { return EndsChain() && chain + 1 == kChains; }
  WEFT_DEVICE void Next() {
    if (++part < Shape::kStepsPerChain) return;
    part = 0;
    if (++chain < kChains) return;
    chain = 0;
    ++chunk;
  }
  // To the next one that is seen, from this one on.
  WEFT_DEVICE void Find(const AttentionPlace& at) {
    while (chunk <= at.last_chunk && !Seen(at)) Next();
  }
};

// Sums of rows g and g + 8 that others join: (m, l) here, o where `at` says.
struct JoinedRows {
  float m[2];
  float l[2];

  // The factors that a row's own and the other's sums join with.
  WEFT_DEVICE void Join(const float (&other_m)[2], const float (&other_l)[2], float (&own)[2],
                        float (&other)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float both = fmaxf(m[half], other_m[half]);
      own[half] = Weight(m[half], both);
      other[half] = Weight(other_m[half], both);
      l[half] = Blend(l[half], own[half], other_l[half], other[half]);
      m[half] = both;
    }
  }
};

template <int kDim, KvType kType>
WEFT_KERNEL((PrefillShape<kDim, kType>::kThreads), 1)
void MixedAttentionKernel(const AttentionParams p) {
  using Shape = PrefillShape<kDim, kType>;
  using T = AttentionTile<kDim, kType>;
  using Step = PrefillStep<Shape>;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  const int block = static_cast<int>(blockIdx.x);
  const int prefill_blocks = PrefillBlocks<Shape::kPacked>(p);
  if (block >= prefill_blocks) {
    AttendMixed<kDim, kType>(p, AttentionUnit<Shape::kUnits>(), block - prefill_blocks, shared);
    return;
  }
  AttentionPlace at;
  const AttentionBlock own{block % p.prefill_count, block / p.prefill_count, 0};
  if (!PlaceOfBlock<Shape::kPacked>(p, p.prefill_items, own, at)) return;
  LoadQueries<kDim, kType, Shape::kPacked, Shape::kThreads>(p, at, shared + Shape::kQ,
                                                            static_cast<int>(threadIdx.x));
  __syncthreads();
  AttentionPlace mine = at;
  mine.packed = WarpId() * kRows;
  // Positions that this warp's rows see up to; below 0 where it has none.
  int last_row = (mine.packed + kRows - 1) / at.group_heads;
  if (last_row >= at.item.rows) last_row = at.item.rows - 1;
  const bool idle = mine.packed / at.group_heads >= at.item.rows;
  const int last_position = at.item.first_position + last_row;
  const SharedPtr<uint8_t> queries = shared + Shape::kQ + WarpId() * kRows * T::kPitch;
  WarpAttention<kDim, kType> warp;
  warp.KeepQueries(queries);
  const SharedPtr<float> running =
      PtrCast<float>(shared + Shape::kRunning) + WarpId() * Shape::kSums * kWarp + Lane();
  const SharedPtr<float> chunk_room =
      PtrCast<float>(shared + Shape::kChunk) + WarpId() * Shape::kSums * kWarp + Lane();
  float in_chunk[Shape::kChunkInRegisters ? Shape::kSums : 1];
  JoinedRows of_chunk, of_all;

  const auto copy = [&](const Step& step, int stage) {
    if (step.chunk <= at.last_chunk) {
      const int tile = static_cast<int>(threadIdx.x) / Shape::kStepThreads;
      const int token = step.Token(tile);
      if (token < at.tokens && token + kTileTokens > at.first_token) {
        T::template Copy<Shape::kStepThreads>(
            p, at, token, shared + stage * Shape::kStageBytes + tile * T::kStageBytes,
            static_cast<int>(threadIdx.x) % Shape::kStepThreads);
      }
    }
    CopyAsyncCommit();
  };
  const auto add_chain = [&]() {
    warp.EndChain();
    float own[2], other[2];
    of_chunk.Join(warp.m, warp.l, own, other);
#pragma unroll
    for (int i = 0; i < Shape::kSums; ++i) {
      const int half = i % 4 / 2;
      if constexpr (Shape::kChunkInRegisters) {
        in_chunk[i] = Blend(in_chunk[i], own[half], warp.o[i / 4][i % 4], other[half]);
      } else {
        const float sum = chunk_room[i * kWarp];
        chunk_room[i * kWarp] = Blend(sum, own[half], warp.o[i / 4][i % 4], other[half]);
      }
    }
    warp.Reset();
  };
  const auto begin_chunk = [&]() {
    of_chunk = {{kNone, kNone}, {0, 0}};
#pragma unroll
    for (int i = 0; i < Shape::kSums; ++i) {
      if constexpr (Shape::kChunkInRegisters) {
        in_chunk[i] = 0;
      } else {
        chunk_room[i * kWarp] = 0.0f;
      }
    }
  };
  const auto chunk_sum = [&](int i) -> float {
    if constexpr (Shape::kChunkInRegisters) {
      return in_chunk[i];
    } else {
      return chunk_room[i * kWarp];
    }
  };
  bool first = true;
  const auto add_chunk = [&]() {
    if (first) {
      of_all = of_chunk;
#pragma unroll
      for (int i = 0; i < Shape::kSums; ++i) running[i * kWarp] = chunk_sum(i);
    } else {
      float own[2], other[2];
      of_all.Join(of_chunk.m, of_chunk.l, own, other);
#pragma unroll
      for (int i = 0; i < Shape::kSums; ++i) {
        const float sum = running[i * kWarp];
        running[i * kWarp] = Blend(sum, own[i % 4 / 2], chunk_sum(i), other[i % 4 / 2]);
      }
    }
    first = false;
    begin_chunk();
  };

  warp.Reset();
  begin_chunk();
  Step ahead{at.chunk};
  ahead.Find(at);
  copy(ahead, 0);
  int stage = 0;
  for (Step now{at.chunk}; now.chunk <= at.last_chunk; now.Next()) {
    if (now.Seen(at)) {
      ahead.Next();
      ahead.Find(at);
      CopyAsyncWait<0>();
      __syncthreads();  // these tiles are there; all are done with those before
      copy(ahead, stage ^ 1);
      SharedPtr<uint8_t> tiles = shared + stage * Shape::kStageBytes;
      if constexpr (kType == KvType::kFp8) {
        const int tile = static_cast<int>(threadIdx.x) / Shape::kStepThreads;
        const int token = now.Token(tile);
        if (token < at.tokens && token + kTileTokens > at.first_token) {
          T::template Expand<Shape::kStepThreads>(
              tiles + tile * T::kStageBytes, shared + Shape::kWide + tile * T::kWideBytes,
              static_cast<int>(threadIdx.x) % Shape::kStepThreads);
        }
        __syncthreads();
        tiles = shared + Shape::kWide;
      }
#pragma unroll 1
      for (int tile = 0; tile < Shape::kStepTiles && !idle; ++tile) {
        const int token = now.Token(tile);
        if (token > last_position || token + kTileTokens <= at.first_token) continue;
        warp.Tile(p, mine, token, queries, tiles + tile * T::kWideBytes);
      }
      stage ^= 1;
    }
    if (now.EndsChain()) add_chain();
    if (now.EndsChunk()) add_chunk();
  }
  if (idle) return;
  StorePairs<kDim>(p, mine, of_all.l, [&](int i) -> float { return running[i * kWarp]; });
}

LaunchResult MixedAttention(const AttentionParams& p, void* stream) {
  if (p.prefill_count == 0 && p.item_count == 0) return {};
  constexpr const char* kName = "mixed_attention";
  return ForHeads(p, kName, [&]<int kDim, KvType kType>() {
    using Shape = PrefillShape<kDim, kType>;
    return Run(
        MixedAttentionKernel<kDim, kType>,
        {MixedBlocks<Shape::kPacked, Shape::kUnits>(p), Shape::kThreads, Shape::kBytes, kName},
        stream, p);
  });
}

}  // namespace weft::gpu
