// See prefill_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: PrefillAttentionKernel<16, 0>, shared 26624
// occupancy: PrefillAttentionKernel<16, 1>, shared 26624
// occupancy: PrefillAttentionKernel<16, 2>, shared 24576
// occupancy: PrefillAttentionKernel<32, 0>, shared 47104
// occupancy: PrefillAttentionKernel<32, 1>, shared 47104
// occupancy: PrefillAttentionKernel<32, 2>, shared 45056
// occupancy: PrefillAttentionKernel<64, 0>, shared 88064
// occupancy: PrefillAttentionKernel<64, 1>, shared 88064
// occupancy: PrefillAttentionKernel<64, 2>, shared 86016
// occupancy: PrefillAttentionKernel<80, 0>, shared 108544
// occupancy: PrefillAttentionKernel<80, 1>, shared 108544
// occupancy: PrefillAttentionKernel<80, 2>, shared 106496
// occupancy: PrefillAttentionKernel<96, 0>, shared 129024
// occupancy: PrefillAttentionKernel<96, 1>, shared 129024
// occupancy: PrefillAttentionKernel<96, 2>, shared 126976
// occupancy: PrefillAttentionKernel<128, 0>, shared 169984
// occupancy: PrefillAttentionKernel<128, 1>, shared 169984
// occupancy: PrefillAttentionKernel<128, 2>, shared 167936
// occupancy: PrefillAttentionKernel<256, 0>, shared 198656
// occupancy: PrefillAttentionKernel<256, 1>, shared 198656
// occupancy: PrefillAttentionKernel<256, 2>, shared 198144
#include "libs/device/ptx.h"
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
  static constexpr int kBytes = kChunk + (kChunkInRegisters ? 0 : kThreads * kSums * 4);
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
void PrefillAttentionKernel(const AttentionParams p) {
  using Shape = PrefillShape<kDim, kType>;
  using T = AttentionTile<kDim, kType>;
  using Step = PrefillStep<Shape>;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  AttentionPlace at;
  if (!PlaceOfBlock<Shape::kPacked>(p, p.prefill_items, at)) return;
  LoadQueries<kDim, kType, Shape::kPacked, Shape::kThreads>(p, at, shared + Shape::kQ);
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
  const int t = Lane() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = Lane() / 4 + 8 * half;
    const bool there = mine.Position(r) >= 0;
    const int64_t to = there ? at.Head(p, mine.packed + r) * kDim : 0;
#pragma unroll
    for (int j = 0; j < kDim / 8; j += 2) {
      float2 pairs[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const SharedPtr<float> sums = running + (4 * (j + i) + 2 * half) * kWarp;
        pairs[i] = make_float2(sums[0] / of_all.l[half], sums[kWarp] / of_all.l[half]);
        if (there && p.out != nullptr) {
          PtrCast<float2>(GlobalPtr<float>(p.out) + to + 8 * (j + i) + 2 * t)[0] = pairs[i];
        }
      }
      if (p.out_bf16 == nullptr) continue;
      // Lanes beside each other exchange halves, so that each has four columns of one tile.
      const uint32_t low = PackBf16x2(pairs[0].x, pairs[0].y);
      const uint32_t high = PackBf16x2(pairs[1].x, pairs[1].y);
      const uint32_t other = __shfl_xor_sync(kAllLanes, t % 2 == 0 ? high : low, 1);
      if (!there) continue;
      PtrCast<uint2>(GlobalPtr<uint16_t>(p.out_bf16) + to + 8 * (j + t % 2) + 2 * (t - t % 2))[0] =
          t % 2 == 0 ? make_uint2(low, other) : make_uint2(other, high);
    }
  }
}

namespace {

template <int kDim>
LaunchResult Attend(const AttentionParams& p, void* stream, const char* name) {
  const auto run = [&]<KvType kType>() {
    using Shape = PrefillShape<kDim, kType>;
    const int group = p.heads / p.kv_heads;
    const int blocks = (group + Shape::kPacked - 1) / Shape::kPacked;
    return Run(
        PrefillAttentionKernel<kDim, kType>,
        {dim3(static_cast<uint32_t>(p.prefill_count), static_cast<uint32_t>(p.kv_heads * blocks)),
         Shape::kThreads, Shape::kBytes, name},
        stream, p);
  };
  switch (p.kv_type) {
    case KvType::kHalf:
      return run.template operator()<KvType::kHalf>();
    case KvType::kBf16:
      return run.template operator()<KvType::kBf16>();
    case KvType::kFp8:
      return run.template operator()<KvType::kFp8>();
  }
  return {.error = "kv_type", .kernel = name};
}

}  // namespace

LaunchResult PrefillAttention(const AttentionParams& p, void* stream) {
  if (p.prefill_count == 0) return {};
  switch (p.head_dim) {
    case 16:
      return Attend<16>(p, stream, "prefill_attention_16");
    case 32:
      return Attend<32>(p, stream, "prefill_attention_32");
    case 64:
      return Attend<64>(p, stream, "prefill_attention_64");
    case 80:
      return Attend<80>(p, stream, "prefill_attention_80");
    case 96:
      return Attend<96>(p, stream, "prefill_attention_96");
    case 128:
      return Attend<128>(p, stream, "prefill_attention_128");
    case 256:
      return Attend<256>(p, stream, "prefill_attention_256");
    default:
      return {.error = "this head size is not supported", .kernel = "prefill_attention"};
  }
}

}  // namespace weft::gpu
