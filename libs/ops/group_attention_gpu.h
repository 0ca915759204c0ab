// A warpgroup's part of prefill_wgmma_gpu.h's attention: 64 (row, head) pairs over tiles of 128
// tokens by wgmma, and how a block's shared memory is laid out for it.
#pragma once

#include "libs/device/ptx.h"
#include "libs/ops/attention_decode_gpu.h"

namespace weft::gpu {

constexpr int kGroupThreads = 128;
constexpr int kConsumers = 2;
constexpr int kBlockThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kGroupPairs = 64;
constexpr int kPairs = kConsumers * kGroupPairs;
constexpr int kTokens = 128;  // of a tile
constexpr int kStages = 2;    // of K, and of V
constexpr int kPanel = 64;    // columns: 128 bytes, the swizzle's width
constexpr int kLineBytes = 2 * kPanel;

// A tile is panels of 64 columns, one after the other.
template <int kDim>
struct WgmmaShape {
  static constexpr int kPanels = kDim / kPanel;
  static constexpr int kQPanelBytes = kGroupPairs * kLineBytes;
  static constexpr int kQBytes = kPanels * kQPanelBytes;  // of a consumer
  static constexpr int kPanelBytes = kTokens * kLineBytes;
  static constexpr int kTileBytes = kPanels * kPanelBytes;
  static constexpr int kK = kConsumers * kQBytes;
  static constexpr int kV = kK + kStages * kTileBytes;
  static constexpr int kPrefillBytes = kV + kStages * kTileBytes;
  static constexpr int kUnits = kConsumers;  // decode: the two consumers' warpgroups
  // The kind of 16-bit pages makes no difference.
  static constexpr int kUnitBytes = kUnits * AttentionShared<kDim, KvType::kHalf>::kBytes;
  static constexpr int kBytes = kPrefillBytes > kUnitBytes ? kPrefillBytes : kUnitBytes;
};

// A consumer's queries, rounded, where wgmma reads them; zeros where there are none.
template <int kDim, KvType kType>
WEFT_DEVICE void LoadGroupQueries(const AttentionParams& p, const AttentionPlace& at, int first,
                                  SharedPtr<uint8_t> to) {
  using W = WgmmaShape<kDim>;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
  for (int i = thread; i < kGroupPairs * kDim / 2; i += kGroupThreads) {
    const int r = i / (kDim / 2);
    const int d = i % (kDim / 2) * 2;
    float2 pair = make_float2(0, 0);
    if ((first + r) / at.group_heads < at.item.rows) {
      pair =
          PtrCast<const float2>(GlobalPtr<const float>(p.q) + at.Head(p, first + r) * kDim + d)[0];
    }
    const uint32_t in_panel =
        SwizzleOffset(Swizzle::k128, static_cast<uint32_t>(r * kLineBytes + d % kPanel * 2));
    PtrCast<uint32_t>(to + d / kPanel * W::kQPanelBytes + static_cast<int>(in_panel))[0] =
        PackKv<kType>(pair.x, pair.y);
  }
}

// A warpgroup's sums over tiles: 64 pairs, of which a warp has 16.
template <int kDim, KvType kType>
struct GroupAttention {
  using W = WgmmaShape<kDim>;
  static constexpr int kScores = kTokens / 2;  // of a lane

  float s[kScores];
  uint32_t weights[kTokens / 16][4];
  float o[W::kPanels][kPanel / 2];
  float m[2];
  float l[2];
  float grown[2];

  WEFT_DEVICE void Reset() {
#pragma unroll
    for (int panel = 0; panel < W::kPanels; ++panel) {
#pragma unroll
      for (int i = 0; i < kPanel / 2; ++i) o[panel][i] = 0;
    }
    m[0] = m[1] = kNone;
    l[0] = l[1] = 0;
  }

  // Begins S of a tile.
  WEFT_DEVICE void Score(SharedPtr<uint8_t> queries, SharedPtr<uint8_t> keys) {
    const uint64_t a = MakeDescriptor(queries, 16, 1024, Swizzle::k128);
    const uint64_t b = MakeDescriptor(keys, 16, 1024, Swizzle::k128);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const uint64_t q = a + k / 4 * (W::kQPanelBytes / 16) + k % 4 * 2;
      const uint64_t t = b + k / 4 * (W::kPanelBytes / 16) + k % 4 * 2;
      if constexpr (kType == KvType::kBf16) {
        WgmmaBf16<kTokens>(s, q, t, k > 0);
      } else {
        WgmmaHalf<kTokens>(s, q, t, k > 0);
      }
    }
    WgmmaCommit();
  }

  // Begins O += P V.
  WEFT_DEVICE void Add(SharedPtr<uint8_t> values) {
    WgmmaFence();
#pragma unroll
    for (int panel = 0; panel < W::kPanels; ++panel) {
      const uint64_t b =
          MakeDescriptor(values + panel * W::kPanelBytes, W::kPanelBytes, 1024, Swizzle::k128);
#pragma unroll
      for (int k = 0; k < kTokens / 16; ++k) {
        if constexpr (kType == KvType::kBf16) {
          WgmmaBf16<kPanel, true>(o[panel], weights[k], b + 128 * k, true);
        } else {
          WgmmaHalf<kPanel, true>(o[panel], weights[k], b + 128 * k, true);
        }
      }
    }
    WgmmaCommit();
  }

  // S of the tile from `token` on becomes weights of the row's running maximum and sum.
  WEFT_DEVICE void Soften(const AttentionParams& p, const AttentionPlace& at, int token) {
    const int t = Lane() % 4;
    const float scale = p.softcap > 0 ? kLog2E : p.scale * kLog2E;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int position = at.Position(Lane() / 4 + 8 * half);
      // Whether all rows of this lane see all of the tile.
      const int lowest = p.window == 0 ? -1 : position - p.window;
      const bool masked = token + kTokens - 1 > position || token <= lowest;
      float largest = kNone;
#pragma unroll
      for (int i = 0; i < kScores / 2; ++i) {
        float& score = s[i / 2 * 4 + 2 * half + i % 2];
        if (p.softcap > 0) score = p.softcap * tanhf(score * p.scale / p.softcap);
        const int column = token + i / 2 * 8 + 2 * t + i % 2;
        if (masked && (column > position || column <= lowest)) score = kNone;
        largest = fmaxf(largest, score);
      }
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
      // The scale is positive: it does not change which score is the largest.
      const float next = fmaxf(m[half], largest * scale);
      grown[half] = Weight(m[half], next);
      m[half] = next;
      // A row that has seen nothing yet keeps weights of 0.
      const float base = next == kNone ? 0.0f : next;
      l[half] *= grown[half];
#pragma unroll
      for (int i = 0; i < kScores / 2; ++i) {
        float& score = s[i / 2 * 4 + 2 * half + i % 2];
        score = exp2f(__fmaf_rn(score, scale, -base));
        l[half] += score;
      }
    }
#pragma unroll
    for (int k = 0; k < kTokens / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        weights[k][i] = PackKv<kType>(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
    }
  }

  WEFT_DEVICE void Grow() {
#pragma unroll
    for (int panel = 0; panel < W::kPanels; ++panel) {
#pragma unroll
      for (int i = 0; i < kPanel / 2; ++i) o[panel][i] *= grown[i / 2 % 2];
    }
  }
};

}  // namespace weft::gpu
