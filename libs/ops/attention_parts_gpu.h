// What the kernels of attention_gpu.h and latent_gpu.h share: which rows and chunks a block has,
// the online softmax, and where results go.
#pragma once

#include "libs/device/ptx.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kAttentionWarps = 4;
constexpr int kAttentionThreads = kAttentionWarps * kWarp;
constexpr int kRows = 16;  // (row, head) pairs of a block
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kNone = -INFINITY;  // the maximum of no scores

// e^(m - to), in powers of two; nothing has been seen where m is kNone.
WEFT_DEVICE float Weight(float m, float to) { return m == kNone ? 0.0f : exp2f(m - to); }

// a * wa + b * wb, rounded in one way wherever it is compiled.
WEFT_DEVICE float Blend(float a, float wa, float b, float wb) {
  return __fmaf_rn(b, wb, __fmul_rn(a, wa));
}

template <KvType kType>
WEFT_DEVICE void MmaKv(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kType == KvType::kBf16) {
    MmaBf16(d, a, b);
  } else {
    MmaHalf(d, a, b);
  }
}
template <KvType kType>
WEFT_DEVICE uint32_t PackKv(float low, float high) {
  return kType == KvType::kBf16 ? PackBf16x2(low, high) : PackHalfx2(low, high);
}

// Blocks of kPacked (row, head) pairs that share the heads of a group.
template <int kPacked>
WEFT_HOST_DEVICE int BlocksOfGroup(const AttentionParams& p) {
  return (p.heads / p.kv_heads + kPacked - 1) / kPacked;
}

// What a block works on.
struct AttentionPlace {
  AttentionItem item;
  int kv_head;
  int first_head;   // of this block, within the model
  int group_heads;  // of this block: at most kRows
  int tokens;       // that its last row sees
  int first_token;  // that its first row sees
  int chunk;        // in hand, up to
  int last_chunk;
  int packed = 0;  // of a warp that has not the block's first pairs: how many come before

  // A packed row's position; -1 where there is none.
  WEFT_DEVICE int Position(int r) const {
    const int row = (packed + r) / group_heads;
    return row < item.rows ? item.first_position + row : -1;
  }
  // A packed row's place among the heads of all rows.
  WEFT_DEVICE int64_t Head(const AttentionParams& p, int r) const {
    const int64_t row = item.first_row + r / group_heads;
    return row * p.heads + first_head + r % group_heads;
  }
};

// Its place in a grid of items, kv heads times blocks of their group's heads, chunks.
struct AttentionBlock {
  int item;
  int heads;
  int chunk;
};
WEFT_DEVICE AttentionBlock OwnBlock() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}

// A block has kPacked (row, head) pairs. False where there is nothing to do.
template <int kPacked = kRows>
WEFT_DEVICE bool PlaceOfBlock(const AttentionParams& p, const AttentionItem* items,
                              const AttentionBlock& block, AttentionPlace& at) {
  const int group = p.heads / p.kv_heads;
  const int blocks_per_group = BlocksOfGroup<kPacked>(p);
  at.item = GlobalPtr<const AttentionItem>(items)[block.item];
  at.kv_head = block.heads / blocks_per_group;
  const int first_of_group = block.heads % blocks_per_group * kPacked;
  at.first_head = at.kv_head * group + first_of_group;
  at.group_heads = group - first_of_group < kPacked ? group - first_of_group : kPacked;
  at.tokens = at.item.first_position + at.item.rows;
  at.first_token = p.window == 0 || at.item.first_position < p.window
                       ? 0
                       : at.item.first_position - p.window + 1;
  at.chunk = at.first_token / kChunkTokens;
  at.last_chunk = (at.tokens - 1) / kChunkTokens;
  if (at.item.spread == 0) return block.chunk == 0;
  if (block.chunk < at.chunk || block.chunk > at.last_chunk) return false;
  at.chunk = at.last_chunk = block.chunk;
  return true;
}

// Scores of eight tokens a tile, from `token` on, become weights: masked, scaled, capped, and
// joined to the running maximum m and sum l of the rows g and g + 8; `grown` is what earlier sums
// are multiplied by. d's layout of an mma.
template <int kTiles>
WEFT_DEVICE void OnlineSoftmax(const AttentionParams& p, const AttentionPlace& at, int token,
                               float (&s)[kTiles][4], float (&m)[2], float (&l)[2],
                               float (&grown)[2]) {
  const int t = Lane() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int position = at.Position(Lane() / 4 + 8 * half);
    float largest = kNone;
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) {
      float& score = s[i / 2][2 * half + i % 2];
      const int column = token + i / 2 * 8 + 2 * t + i % 2;
      score *= p.scale;
      if (p.softcap > 0) score = p.softcap * tanhf(score / p.softcap);
      score *= kLog2E;
      const bool seen = column <= position && (p.window == 0 || column > position - p.window);
      if (!seen) score = kNone;
      largest = fmaxf(largest, score);
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    const float next = fmaxf(m[half], largest);
    grown[half] = m[half] == kNone ? 1.0f : exp2f(m[half] - next);
    m[half] = next;
    l[half] *= grown[half];
#pragma unroll
    for (int i = 0; i < 2 * kTiles; ++i) {
      float& score = s[i / 2][2 * half + i % 2];
      score = Weight(score, next);
      l[half] += score;
    }
  }
}

WEFT_DEVICE void StoreAttended(const AttentionParams& p, int64_t at, float value) {
  if (p.out != nullptr) GlobalPtr<float>(p.out)[at] = value;
  if (p.out_bf16 != nullptr) GlobalPtr<uint16_t>(p.out_bf16)[at] = FromFloat<Bf16>(value).bits;
}

// The chunks that the row at `position` sees.
WEFT_DEVICE int FirstChunk(const AttentionParams& p, int position) {
  return p.window == 0 || position < p.window ? 0 : (position - p.window + 1) / kChunkTokens;
}

// Results of the running sums, or of this chunk's share in them. All kAttentionThreads threads.
template <int kDim>
WEFT_DEVICE void FinishAttention(const AttentionParams& p, const AttentionPlace& at, int chunk,
                                 SharedPtr<float> running, int pitch, SharedPtr<float> running_ml,
                                 int thread) {
  for (int i = thread; i < kRows * kDim; i += kAttentionThreads) {
    const int r = i / kDim;
    const int d = i % kDim;
    const int position = at.Position(r);
    if (position < 0) continue;
    const int64_t head = at.Head(p, r);
    const int first = FirstChunk(p, position);
    const int last = position / kChunkTokens;
    if (at.item.spread != 0 && (chunk < first || chunk > last)) continue;
    const float sum = running[r * pitch + d];
    if (at.item.spread == 0 || first == last) {
      StoreAttended(p, head * kDim + d, sum / running_ml[2 * r + 1]);
      continue;
    }
    const int64_t partial_row = GlobalPtr<const int32_t>(p.partial_rows)[head / p.heads];
    const int64_t partial = (partial_row * p.heads + head % p.heads) * p.chunks + chunk;
    GlobalPtr<float>(p.partial_o)[partial * kDim + d] = sum;
    if (d == 0) {
      GlobalPtr<float>(p.partial_ml)[2 * partial] = running_ml[2 * r];
      GlobalPtr<float>(p.partial_ml)[2 * partial + 1] = running_ml[2 * r + 1];
    }
  }
}

inline dim3 AttentionGrid(const AttentionParams& p) {
  return dim3(static_cast<uint32_t>(p.item_count),
              static_cast<uint32_t>(p.kv_heads * BlocksOfGroup<kRows>(p)),
              static_cast<uint32_t>(p.chunks));
}

// run.operator()<head size, kind of pages>() of the launch's.
template <typename F>
LaunchResult ForHeads(const AttentionParams& p, const char* kernel, const F& run) {
  const auto of_size = [&]<int kDim>() -> LaunchResult {
    switch (p.kv_type) {
      case KvType::kHalf:
        return run.template operator()<kDim, KvType::kHalf>();
      case KvType::kBf16:
        return run.template operator()<kDim, KvType::kBf16>();
      case KvType::kFp8:
        return run.template operator()<kDim, KvType::kFp8>();
    }
    return {.error = "kv_type", .kernel = kernel};
  };
  switch (p.head_dim) {
    case 16:
      return of_size.template operator()<16>();
    case 32:
      return of_size.template operator()<32>();
    case 64:
      return of_size.template operator()<64>();
    case 80:
      return of_size.template operator()<80>();
    case 96:
      return of_size.template operator()<96>();
    case 128:
      return of_size.template operator()<128>();
    case 256:
      return of_size.template operator()<256>();
    default:
      return {.error = "this head size is not supported", .kernel = kernel};
  }
}

}  // namespace weft::gpu
