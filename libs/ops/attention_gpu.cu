// See attention_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: PagedAttentionKernel<16, 0>, shared 14720
// occupancy: PagedAttentionKernel<16, 1>, shared 14720
// occupancy: PagedAttentionKernel<32, 0>, shared 24448
// occupancy: PagedAttentionKernel<32, 1>, shared 24448
// occupancy: PagedAttentionKernel<64, 0>, shared 43904
// occupancy: PagedAttentionKernel<64, 1>, shared 43904
// occupancy: PagedAttentionKernel<80, 0>, shared 53632
// occupancy: PagedAttentionKernel<80, 1>, shared 53632
// occupancy: PagedAttentionKernel<96, 0>, shared 63360
// occupancy: PagedAttentionKernel<96, 1>, shared 63360
// occupancy: PagedAttentionKernel<128, 0>, shared 82816
// occupancy: PagedAttentionKernel<128, 1>, shared 82816
// occupancy: PagedAttentionKernel<256, 0>, shared 160640
// occupancy: PagedAttentionKernel<256, 1>, shared 160640
#include "libs/device/ptx.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/attention_parts_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kTileTokens = 16;  // of one copy of a warp
constexpr int kTilesPerChunk = kChunkTokens / kTileTokens;

template <int kDim>
struct AttentionShared {
  static constexpr int kPitch = kDim * 2 + 16;  // bytes: rows of an ldmatrix in different banks
  static constexpr int kTileBytes = kTileTokens * kPitch;
  static constexpr int kStageBytes = 2 * kTileBytes;  // keys, values
  static constexpr int kWarpBytes = 2 * kStageBytes;
  // Floats of a row of sums. A warp reads two rows of 16: they lie in different banks.
  static constexpr int kSumPitch = kDim == 16 ? 48 : kDim + 8;
  static constexpr int kQ = kAttentionWarps * kWarpBytes;
  static constexpr int kRunning = kQ + kRows * kPitch;         // float [kRows][kDim]
  static constexpr int kWarpMl = kRunning + kRows * kDim * 4;  // float [warps][kRows][2]
  static constexpr int kRunningMl = kWarpMl + kAttentionWarps * kRows * 2 * 4;
  static constexpr int kBytes = kRunningMl + kRows * 2 * 4;
  static_assert(kRows * kSumPitch * 4 <= kWarpBytes);
};

// Keys and values of 16 tokens; zeros after the last token.
template <int kDim>
WEFT_DEVICE void CopyTile(const AttentionParams& p, const AttentionPlace& at, int token,
                          SharedPtr<uint8_t> stage) {
  using S = AttentionShared<kDim>;
  constexpr int kChunksPerToken = kDim / 8;
  const int page = GlobalPtr<const int32_t>(p.tables)[at.item.table + token / p.block_tokens];
  const int64_t from = ((static_cast<int64_t>(page) * p.kv_heads + at.kv_head) * p.block_tokens +
                        token % p.block_tokens) *
                       kDim;
  const GlobalPtr<const uint16_t> k = GlobalPtr<const uint16_t>(p.k_pages) + from;
  const GlobalPtr<const uint16_t> v = GlobalPtr<const uint16_t>(p.v_pages) + from;
#pragma unroll
  for (int i = Lane(); i < kTileTokens * kChunksPerToken; i += kWarp) {
    const int row = i / kChunksPerToken;
    const int chunk = i % kChunksPerToken;
    const int bytes = token + row < at.tokens ? 16 : 0;
    const int64_t source = static_cast<int64_t>(bytes == 0 ? 0 : row) * kDim + 8 * chunk;
    const SharedPtr<uint8_t> to = stage + row * S::kPitch + 16 * chunk;
    CopyAsyncZeroFill<16>(to, k + source, bytes);
    CopyAsyncZeroFill<16>(to + S::kTileBytes, v + source, bytes);
  }
}

// One warp's online softmax over its tiles of a chunk.
template <int kDim, KvType kType>
struct WarpAttention {
  using S = AttentionShared<kDim>;
  // More than this do not fit beside the sums: large heads read them from shared memory each time.
  static constexpr bool kKeepQ = kDim <= 128;

  float o[kDim / 8][4];
  float m[2];  // rows g and g + 8
  float l[2];  // of this lane's columns
  uint32_t q[kKeepQ ? kDim / 16 : 1][4];

  WEFT_DEVICE void Reset() {
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;
    }
    m[0] = m[1] = kNone;
    l[0] = l[1] = 0;
  }

  WEFT_DEVICE static void LoadQ(SharedPtr<uint8_t> shared, int k, uint32_t (&a)[4]) {
    LoadMatrix(a, shared + S::kQ + Lane() % 16 * S::kPitch + Lane() / 16 * 16 + 32 * k);
  }

  WEFT_DEVICE void Tile(const AttentionParams& p, const AttentionPlace& at, int token,
                        SharedPtr<uint8_t> shared, SharedPtr<uint8_t> stage) {
    const int lane = Lane();
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t keys[4];
      LoadMatrix(keys, stage + (lane / 16 * 8 + lane % 8) * S::kPitch + lane / 8 % 2 * 16 + 32 * k);
      const uint32_t first[2] = {keys[0], keys[1]};
      const uint32_t second[2] = {keys[2], keys[3]};
      if constexpr (kKeepQ) {
        MmaKv<kType>(s[0], q[k], first);
        MmaKv<kType>(s[1], q[k], second);
      } else {
        uint32_t a[4];
        LoadQ(shared, k, a);
        MmaKv<kType>(s[0], a, first);
        MmaKv<kType>(s[1], a, second);
      }
    }
    float grown[2];
    OnlineSoftmax(p, at, token, s, m, l, grown);
    const uint32_t weights[4] = {PackKv<kType>(s[0][0], s[0][1]), PackKv<kType>(s[0][2], s[0][3]),
                                 PackKv<kType>(s[1][0], s[1][1]), PackKv<kType>(s[1][2], s[1][3])};
    const SharedPtr<uint8_t> values =
        stage + S::kTileBytes + (lane / 8 % 2 * 8 + lane % 8) * S::kPitch + lane / 16 * 16;
#pragma unroll
    for (int j = 0; j < kDim / 16; ++j) {
      uint32_t v[4];
      LoadMatrixTrans(v, values + 32 * j);
      const uint32_t first[2] = {v[0], v[1]};
      const uint32_t second[2] = {v[2], v[3]};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        o[2 * j][i] *= grown[i / 2];
        o[2 * j + 1][i] *= grown[i / 2];
      }
      MmaKv<kType>(o[2 * j], weights, first);
      MmaKv<kType>(o[2 * j + 1], weights, second);
    }
  }

  // To shared memory, where the block merges: o over the warp's own stages, which are done with.
  WEFT_DEVICE void Store(SharedPtr<uint8_t> shared) {
    const int g = Lane() / 4;
    const int t = Lane() % 4;
    const SharedPtr<float> sums = PtrCast<float>(shared + WarpId() * S::kWarpBytes);
    const SharedPtr<float> ml = PtrCast<float>(shared + S::kWarpMl) + WarpId() * kRows * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      l[half] += __shfl_xor_sync(kAllLanes, l[half], 1);
      l[half] += __shfl_xor_sync(kAllLanes, l[half], 2);
      const int row = g + 8 * half;
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j) {
        PtrCast<float2>(sums + row * S::kSumPitch + 8 * j + 2 * t)[0] =
            make_float2(o[j][2 * half], o[j][2 * half + 1]);
      }
      if (t == 0) {
        ml[2 * row] = m[half];
        ml[2 * row + 1] = l[half];
      }
    }
  }
};

// Adds what the warps stored to the block's running sums, warps ascending. All threads.
template <int kDim>
WEFT_DEVICE void MergeWarps(SharedPtr<uint8_t> shared, bool first) {
  using S = AttentionShared<kDim>;
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
  using S = AttentionShared<kDim>;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  AttentionPlace at;
  if (!PlaceOfBlock(p, at)) return;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kDim / 2; i += kAttentionThreads) {
    const int r = i / (kDim / 2);
    const int d = i % (kDim / 2) * 2;
    float2 pair = make_float2(0, 0);
    if (r / at.group_heads < at.item.rows) {
      pair = PtrCast<const float2>(GlobalPtr<const float>(p.q) + at.Head(p, r) * kDim + d)[0];
    }
    PtrCast<uint32_t>(shared + S::kQ + r * S::kPitch + 2 * d)[0] = PackKv<kType>(pair.x, pair.y);
  }
  __syncthreads();

  WarpAttention<kDim, kType> warp;
  if constexpr (WarpAttention<kDim, kType>::kKeepQ) {
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) warp.LoadQ(shared, k, warp.q[k]);
  }
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
    if (there(tile)) CopyTile<kDim>(p, at, base + tile * kTileTokens, own);
    CopyAsyncCommit();
    for (int stage = 0; there(tile); tile += kAttentionWarps, stage ^= 1) {
      const int next = tile + kAttentionWarps;
      if (there(next)) {
        CopyTile<kDim>(p, at, base + next * kTileTokens, own + (stage ^ 1) * S::kStageBytes);
      }
      CopyAsyncCommit();
      CopyAsyncWait<1>();
      __syncwarp();
      warp.Tile(p, at, base + tile * kTileTokens, shared, own + stage * S::kStageBytes);
      __syncwarp();  // the stage may be overwritten now
    }
    CopyAsyncWait<0>();
    __syncwarp();
    warp.Store(shared);
    __syncthreads();
    MergeWarps<kDim>(shared, first);
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
  const LaunchShape shape{AttentionGrid(p), kAttentionThreads, AttentionShared<kDim>::kBytes, name};
  return p.kv_type == KvType::kHalf
             ? Run(PagedAttentionKernel<kDim, KvType::kHalf>, shape, stream, p)
             : Run(PagedAttentionKernel<kDim, KvType::kBf16>, shape, stream, p);
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
