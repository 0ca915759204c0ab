// See attention_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: PagedAttentionKernel<16, 0>, shared 14720
// occupancy: PagedAttentionKernel<16, 1>, shared 14720
// occupancy: PagedAttentionKernel<16, 2>, shared 14720
// occupancy: PagedAttentionKernel<32, 0>, shared 24448
// occupancy: PagedAttentionKernel<32, 1>, shared 24448
// occupancy: PagedAttentionKernel<32, 2>, shared 22400
// occupancy: PagedAttentionKernel<64, 0>, shared 43904
// occupancy: PagedAttentionKernel<64, 1>, shared 43904
// occupancy: PagedAttentionKernel<64, 2>, shared 41856
// occupancy: PagedAttentionKernel<80, 0>, shared 53632
// occupancy: PagedAttentionKernel<80, 1>, shared 53632
// occupancy: PagedAttentionKernel<80, 2>, shared 51584
// occupancy: PagedAttentionKernel<96, 0>, shared 63360
// occupancy: PagedAttentionKernel<96, 1>, shared 63360
// occupancy: PagedAttentionKernel<96, 2>, shared 61312
// occupancy: PagedAttentionKernel<128, 0>, shared 82816
// occupancy: PagedAttentionKernel<128, 1>, shared 82816
// occupancy: PagedAttentionKernel<128, 2>, shared 80768
// occupancy: PagedAttentionKernel<256, 0>, shared 160640
// occupancy: PagedAttentionKernel<256, 1>, shared 160640
// occupancy: PagedAttentionKernel<256, 2>, shared 158592
#include "libs/device/ptx.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/attention_tile_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

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
template <int kDim, KvType kType>
WEFT_DEVICE void StoreSums(WarpAttention<kDim, kType>& warp, SharedPtr<uint8_t> shared) {
  using S = AttentionShared<kDim, kType>;
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  const SharedPtr<float> sums = PtrCast<float>(shared + WarpId() * S::kWarpBytes);
  const SharedPtr<float> ml = PtrCast<float>(shared + S::kWarpMl) + WarpId() * kRows * 2;
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

// Adds what the warps stored to the block's running sums, warps ascending. All threads.
template <int kDim, KvType kType>
WEFT_DEVICE void MergeWarps(SharedPtr<uint8_t> shared, bool first) {
  using S = AttentionShared<kDim, kType>;
  const SharedPtr<float> running = PtrCast<float>(shared + S::kRunning);
  const SharedPtr<float> running_ml = PtrCast<float>(shared + S::kRunningMl);
  const SharedPtr<float> ml = PtrCast<float>(shared + S::kWarpMl);
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kDim; i += kAttentionThreads) {
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
  __syncthreads();
  if (threadIdx.x < kRows) {
    const int row = static_cast<int>(threadIdx.x);
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
  __syncthreads();
}

// Grid: items, kv heads times blocks of their group's heads, chunks.
template <int kDim, KvType kType>
WEFT_KERNEL(kAttentionThreads)
void PagedAttentionKernel(const AttentionParams p) {
  using S = AttentionShared<kDim, kType>;
  using T = AttentionTile<kDim, kType>;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  AttentionPlace at;
  if (!PlaceOfBlock(p, p.items, at)) return;
  LoadQueries<kDim, kType, kRows, kAttentionThreads>(p, at, shared + S::kQ);
  __syncthreads();

  WarpAttention<kDim, kType> warp;
  warp.KeepQueries(shared + S::kQ);
  const SharedPtr<uint8_t> own = shared + WarpId() * S::kWarpBytes;
  const int only = at.chunk;
  for (bool first = true; at.chunk <= at.last_chunk; ++at.chunk, first = false) {
    warp.Reset();
    const int base = at.chunk * kChunkTokens;
    int tile = WarpId();
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
    StoreSums(warp, shared);
    __syncthreads();
    MergeWarps<kDim, kType>(shared, first);
  }
  FinishAttention<kDim>(p, at, only, PtrCast<float>(shared + S::kRunning), kDim,
                        PtrCast<float>(shared + S::kRunningMl));
}

// One warp a (row, head): merges the row's chunks, ascending.
WEFT_KERNEL(kAttentionThreads) void MergeAttentionKernel(const AttentionParams p) {
  const int64_t head = static_cast<int64_t>(blockIdx.x) * kAttentionWarps + WarpId();
  const int64_t row = head / p.heads;
  if (row >= p.rows) return;
  const int64_t partial_row = GlobalPtr<const int32_t>(p.partial_rows)[row];
  if (partial_row < 0) return;
  const int position = GlobalPtr<const int32_t>(p.positions)[row];
  const int first = FirstChunk(p, position);
  const int last = position / kChunkTokens;
  if (first == last) return;
  const int64_t partial = (partial_row * p.heads + head % p.heads) * p.chunks;
  const GlobalPtr<const float> ml = GlobalPtr<const float>(p.partial_ml) + partial * 2;
  const GlobalPtr<const float> sums = GlobalPtr<const float>(p.partial_o) + partial * p.head_dim;
  for (int d = Lane(); d < p.head_dim; d += kWarp) {
    float m = kNone;
    float l = 0;
    float o = 0;
    for (int c = first; c <= last; ++c) {
      const float other = ml[2 * c];
      const float own_l = ml[2 * c + 1];
      const float own_o = sums[static_cast<int64_t>(c) * p.head_dim + d];
      if (c == first) {
        m = other, l = own_l, o = own_o;
        continue;
      }
      const float both = fmaxf(m, other);
      l = Blend(l, Weight(m, both), own_l, Weight(other, both));
      o = Blend(o, Weight(m, both), own_o, Weight(other, both));
      m = both;
    }
    StoreAttended(p, head * p.head_dim + d, o / l);
  }
}

namespace {

template <int kDim>
LaunchResult Attend(const AttentionParams& p, void* stream, const char* name) {
  const auto run = [&]<KvType kType>() {
    const LaunchShape shape{AttentionGrid(p), kAttentionThreads,
                            AttentionShared<kDim, kType>::kBytes, name};
    return Run(PagedAttentionKernel<kDim, kType>, shape, stream, p);
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

bool CanAttend(int32_t head_dim) {
  for (const int32_t dim : {16, 32, 64, 80, 96, 128, 256}) {
    if (dim == head_dim) return true;
  }
  return false;
}

LaunchResult PagedAttention(const AttentionParams& p, void* stream) {
  if (p.item_count == 0) return {};
  switch (p.head_dim) {
    case 16:
      return Attend<16>(p, stream, "paged_attention_16");
    case 32:
      return Attend<32>(p, stream, "paged_attention_32");
    case 64:
      return Attend<64>(p, stream, "paged_attention_64");
    case 80:
      return Attend<80>(p, stream, "paged_attention_80");
    case 96:
      return Attend<96>(p, stream, "paged_attention_96");
    case 128:
      return Attend<128>(p, stream, "paged_attention_128");
    case 256:
      return Attend<256>(p, stream, "paged_attention_256");
    default:
      return {.error = "this head size is not supported", .kernel = "paged_attention"};
  }
}

LaunchResult MergeAttention(const AttentionParams& p, void* stream) {
  if (p.rows == 0 || p.chunks <= 1) return {};
  const int64_t heads = static_cast<int64_t>(p.rows) * p.heads;
  const auto blocks = static_cast<uint32_t>((heads + kAttentionWarps - 1) / kAttentionWarps);
  return Run(MergeAttentionKernel, {blocks, kAttentionThreads, 0, "merge_attention"}, stream, p);
}

}  // namespace weft::gpu
