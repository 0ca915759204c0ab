// See prefill_wgmma_gpu.h for the mathematics. Dynamic shared memory, for
// deploy/ci/check_kernels.py:
// occupancy: WgmmaAttentionKernel<64, 0>, shared 87808
// occupancy: WgmmaAttentionKernel<64, 1>, shared 87808
// occupancy: WgmmaAttentionKernel<128, 0>, shared 165632
// occupancy: WgmmaAttentionKernel<128, 1>, shared 165632
#include <utility>

#include "libs/device/ptx.h"
#include "libs/ops/attention_decode_gpu.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/group_attention_gpu.h"
#include "libs/ops/prefill_wgmma_gpu.h"

namespace weft::gpu {

struct WgmmaAttentionParams {
  TensorMap k;
  TensorMap v;
  AttentionParams of;
  int32_t box_tokens = 0;
};

struct WgmmaBarriers {
  SharedPtr<uint64_t> full;  // [K's stages, V's stages]
  SharedPtr<uint64_t> empty;
};

// The tiles that a block goes through.
struct TileRange {
  int first;
  int last;
  WEFT_DEVICE explicit TileRange(const AttentionPlace& at)
      : first(at.first_token / kTokens), last((at.tokens - 1) / kTokens) {}
};

// One tile of K or V from the pages, by the producer's warp.
template <int kDim>
WEFT_DEVICE void LoadTile(const WgmmaAttentionParams& p, const AttentionPlace& at,
                          const TensorMap& map, const uint16_t* pages, int token,
                          SharedPtr<uint8_t> tile, SharedPtr<uint64_t> full) {
  using W = WgmmaShape<kDim>;
  const int whole = (at.tokens - token) / p.box_tokens;  // boxes without a row after the last token
  const int boxes = kTokens / p.box_tokens;
  const int by_tma = whole < boxes ? whole : boxes;
  const GlobalPtr<const int32_t> tables = GlobalPtr<const int32_t>(p.of.tables) + at.item.table;
  const auto row_of = [&](int t) -> int64_t {
    const int64_t page = tables[t / p.of.block_tokens];
    return (page * p.of.kv_heads + at.kv_head) * p.of.block_tokens + t % p.of.block_tokens;
  };
  if (by_tma < boxes) {
    for (int i = by_tma * p.box_tokens * kDim / 8 + Lane(); i < kTokens * kDim / 8; i += kWarp) {
      const int row = i / (kDim / 8);
      const int chunk = i % (kDim / 8);
      const bool there = token + row < at.tokens;
      const int64_t from = there ? row_of(token + row) * kDim + 8 * chunk : 0;
      const uint32_t to =
          SwizzleOffset(Swizzle::k128, static_cast<uint32_t>(row * kLineBytes + chunk % 8 * 16));
      CopyAsyncZeroFill<16>(tile + chunk / 8 * W::kPanelBytes + static_cast<int>(to),
                            GlobalPtr<const uint16_t>(pages) + from, there ? 16 : 0);
    }
    CopyAsyncCommit();
    CopyAsyncWait<0>();
    FenceProxyAsync();
    __syncwarp();
  }
  if (Lane() == 0) {
    const int box_bytes = p.box_tokens * kLineBytes;
    MbarrierArriveExpect(full, static_cast<uint32_t>(by_tma * W::kPanels * box_bytes));
    for (int box = 0; box < by_tma; ++box) {
      const int row = static_cast<int>(row_of(token + box * p.box_tokens));
#pragma unroll
      for (int panel = 0; panel < W::kPanels; ++panel) {
        TensorLoad(tile + panel * W::kPanelBytes + box * box_bytes, map, full, panel * kPanel, row);
      }
    }
  }
  __syncwarp();
}

template <int kDim>
WEFT_DEVICE void Produce(const WgmmaAttentionParams& p, const AttentionPlace& at,
                         SharedPtr<uint8_t> shared, const WgmmaBarriers& barriers) {
  using W = WgmmaShape<kDim>;
  const TileRange range(at);
  const auto load = [&](bool values, int tile) {
    const int i = tile - range.first;
    const int stage = (values ? kStages : 0) + i % kStages;
    if (i >= kStages) MbarrierWait(barriers.empty + stage, (i / kStages - 1) & 1);
    LoadTile<kDim>(p, at, values ? p.v : p.k, values ? p.of.v_pages : p.of.k_pages, tile * kTokens,
                   shared + W::kK + stage * W::kTileBytes, barriers.full + stage);
  };
  // In the order in which the consumers want them.
  load(false, range.first);
  for (int tile = range.first; tile <= range.last; ++tile) {
    if (tile < range.last) load(false, tile + 1);
    load(true, tile);
  }
}

template <int kDim, KvType kType>
WEFT_DEVICE void Consume(const AttentionParams& p, const AttentionPlace& at, int group,
                         SharedPtr<uint8_t> shared, const WgmmaBarriers& barriers) {
  using W = WgmmaShape<kDim>;
  const SharedPtr<uint8_t> queries = shared + group * W::kQBytes;
  LoadGroupQueries<kDim, kType>(p, at, group * kGroupPairs, queries);
  FenceProxyAsync();
  if (group == 0) {
    NamedBarrierSync(1, kGroupThreads);
  } else {
    NamedBarrierSync(2, kGroupThreads);
  }
  AttentionPlace mine = at;
  mine.packed = group * kGroupPairs + WarpId() % 4 * kRows;
  // The group's rows see tiles up to this one; none where it has no rows.
  const TileRange range(at);
  const int first_row = group * kGroupPairs / at.group_heads;
  int last_row = (group * kGroupPairs + kGroupPairs - 1) / at.group_heads;
  if (last_row >= at.item.rows) last_row = at.item.rows - 1;
  const int last =
      first_row >= at.item.rows ? range.first - 1 : (at.item.first_position + last_row) / kTokens;

  const auto wait = [&](bool values, int tile) -> SharedPtr<uint8_t> {
    const int i = tile - range.first;
    const int stage = (values ? kStages : 0) + i % kStages;
    MbarrierWait(barriers.full + stage, i / kStages & 1);
    return shared + W::kK + stage * W::kTileBytes;
  };
  const auto release = [&](bool values, int tile) {
    if (Lane() == 0) {
      MbarrierArrive(barriers.empty + (values ? kStages : 0) + (tile - range.first) % kStages);
    }
  };
  GroupAttention<kDim, kType> sums;
  sums.Reset();
  if (range.first <= last) {
    sums.Score(queries, wait(false, range.first));
    WgmmaWait<0>();
    release(false, range.first);
    sums.Soften(p, mine, range.first * kTokens);
  }
  for (int tile = range.first; tile <= last; ++tile) {
    const bool more = tile < last;
    if (more) sums.Score(queries, wait(false, tile + 1));
    sums.Add(wait(true, tile));
    if (more) {
      WgmmaWait<1>();
      release(false, tile + 1);
    }
    WgmmaWait<0>();
    release(true, tile);
    if (more) {
      sums.Soften(p, mine, (tile + 1) * kTokens);
      sums.Grow();
    }
  }
  // What the other group still needs passes by.
  for (int tile = last + 1; tile <= range.last; ++tile) {
    (void)wait(false, tile);
    release(false, tile);
    (void)wait(true, tile);
    release(true, tile);
  }
  if (first_row >= at.item.rows) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sums.l[half] += __shfl_xor_sync(kAllLanes, sums.l[half], 1);
    sums.l[half] += __shfl_xor_sync(kAllLanes, sums.l[half], 2);
  }
  StorePairs<kDim>(p, mine, sums.l,
                   [&](int i) -> float { return sums.o[i / (kPanel / 2)][i % (kPanel / 2)]; });
}

template <int kDim, KvType kType>
WEFT_KERNEL(kBlockThreads, 1)
void WgmmaAttentionKernel(const WEFT_PARAMS WgmmaAttentionParams p) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using W = WgmmaShape<kDim>;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  WEFT_SHARED(uint64_t, full, 2 * kStages);
  WEFT_SHARED(uint64_t, empty, 2 * kStages);
  const int thread = static_cast<int>(threadIdx.x);
  const int block = static_cast<int>(blockIdx.x);
  const int prefill_blocks = PrefillBlocks<kPairs>(p.of);
  const bool prefill = block < prefill_blocks;
  AttentionPlace at = {};
  if (prefill) {
    const AttentionBlock own{block % p.of.prefill_count, block / p.of.prefill_count, 0};
    if (!PlaceOfBlock<kPairs>(p.of, p.of.prefill_items, own, at)) return;
  }
  if (thread == 0) {
    for (int s = 0; s < 2 * kStages; ++s) {
      MbarrierInit(full + s, 1);
      MbarrierInit(empty + s, kConsumers * kGroupThreads / kWarp);
    }
    FenceMbarrierInit();
  }
  __syncthreads();
  const WgmmaBarriers barriers{full, empty};
  if (thread < kGroupThreads) {
    DecreaseRegisters<56>();
    if (prefill && thread < kWarp) Produce<kDim>(p, at, shared, barriers);
  } else {
    IncreaseRegisters<224>();
    if (prefill) {
      Consume<kDim, kType>(p.of, at, thread / kGroupThreads - 1, shared, barriers);
    } else {
      AttendMixed<kDim, kType>(p.of, AttentionUnit<W::kUnits>(kGroupThreads),
                               block - prefill_blocks, shared);
    }
  }
#endif
}

namespace {

template <int kDim, KvType kType>
const char* MapOf(const uint16_t* pages, int32_t box_tokens, TensorMap* map) {
  TensorMapShape shape;
  shape.type = kType == KvType::kBf16 ? TensorType::kBf16 : TensorType::kHalf;
  shape.size[0] = kDim;
  // How many pages there are is not known here: block tables name none that is not there.
  shape.size[1] = uint64_t{1} << 31;
  shape.stride_bytes[1] = kDim * 2;
  shape.box[0] = kPanel;
  shape.box[1] = static_cast<uint32_t>(box_tokens);
  shape.swizzle = Swizzle::k128;
  return MakeTensorMap(shape, pages, map);
}

template <int kDim, KvType kType>
LaunchResult Attend(const AttentionParams& p, void* stream) {
  constexpr const char* kName = "wgmma_attention";
  using W = WgmmaShape<kDim>;
  WgmmaAttentionParams params;
  params.of = p;
  params.box_tokens = p.block_tokens < kTokens ? p.block_tokens : kTokens;
  for (const auto& [pages, map] : {std::pair{p.k_pages, &params.k}, {p.v_pages, &params.v}}) {
    const char* error = MapOf<kDim, kType>(pages, params.box_tokens, map);
    if (error != nullptr) return {.error = error, .kernel = kName};
  }
  return Run(WgmmaAttentionKernel<kDim, kType>,
             {MixedBlocks<kPairs, W::kUnits>(p), kBlockThreads, W::kBytes, kName}, stream, params);
}

}  // namespace

bool CanPrefillByWgmma(const AttentionParams& p) {
  const bool whole =
      p.block_tokens % kTokens == 0 || (p.block_tokens >= 16 && kTokens % p.block_tokens == 0);
  return (p.head_dim == 64 || p.head_dim == 128) && p.kv_type != KvType::kFp8 && whole &&
         p.scale > 0;
}

LaunchResult WgmmaAttention(const AttentionParams& p, void* stream) {
  if (p.prefill_count == 0 && p.item_count == 0) return {};
  if (!CanPrefillByWgmma(p)) return {.error = "shape", .kernel = "wgmma_attention"};
  const bool half = p.kv_type == KvType::kHalf;
  if (p.head_dim == 64) {
    return half ? Attend<64, KvType::kHalf>(p, stream) : Attend<64, KvType::kBf16>(p, stream);
  }
  return half ? Attend<128, KvType::kHalf>(p, stream) : Attend<128, KvType::kBf16>(p, stream);
}

}  // namespace weft::gpu
