// What the kernels over pages of keys and values share: a tile of 16 tokens in shared memory, and a
// warp's online softmax over such tiles.
#pragma once

#include "libs/ops/attention_parts_gpu.h"

namespace weft::gpu {

constexpr int kTileTokens = 16;
constexpr int kTilesPerChunk = kChunkTokens / kTileTokens;

// Keys, then values of 16 tokens. Where pages hold FP8, a stage holds their bytes and Expand makes
// the tile, in half, of them.
template <int kDim, KvType kType>
struct AttentionTile {
  static constexpr bool kBytes = kType == KvType::kFp8;
  static constexpr int kPitch = kDim * 2 + 16;  // bytes: rows of an ldmatrix in different banks
  static constexpr int kTileBytes = kTileTokens * kPitch;
  static constexpr int kWideBytes = 2 * kTileBytes;
  static constexpr int kStageBytes = kBytes ? 2 * kTileTokens * kDim : kWideBytes;

  // Begins to copy a tile, as one of kThreads; zeros after the last token.
  template <int kThreads = kWarp>
  WEFT_DEVICE static void Copy(const AttentionParams& p, const AttentionPlace& at, int token,
                               SharedPtr<uint8_t> stage, int thread) {
    constexpr int kRowBytes = kDim * (kBytes ? 1 : 2);
    constexpr int kChunks = kRowBytes / 16;
    constexpr int kStagePitch = kBytes ? kDim : kPitch;
    const int page = GlobalPtr<const int32_t>(p.tables)[at.item.table + token / p.block_tokens];
    const int64_t from = ((static_cast<int64_t>(page) * p.kv_heads + at.kv_head) * p.block_tokens +
                          token % p.block_tokens) *
                         kRowBytes;
    const GlobalPtr<const uint8_t> k =
        PtrCast<const uint8_t>(GlobalPtr<const uint16_t>(p.k_pages)) + from;
    const GlobalPtr<const uint8_t> v =
        PtrCast<const uint8_t>(GlobalPtr<const uint16_t>(p.v_pages)) + from;
#pragma unroll
    for (int i = thread; i < kTileTokens * kChunks; i += kThreads) {
      const int row = i / kChunks;
      const int chunk = i % kChunks;
      const int bytes = token + row < at.tokens ? 16 : 0;
      const int64_t source = static_cast<int64_t>(bytes == 0 ? 0 : row) * kRowBytes + 16 * chunk;
      const SharedPtr<uint8_t> to = stage + row * kStagePitch + 16 * chunk;
      CopyAsyncZeroFill<16>(to, k + source, bytes);
      CopyAsyncZeroFill<16>(to + kTileTokens * kStagePitch, v + source, bytes);
    }
  }

  // The tile of a stage of bytes, by kThreads threads.
  template <int kThreads = kWarp>
  WEFT_DEVICE static void Expand(SharedPtr<const uint8_t> stage, SharedPtr<uint8_t> wide,
                                 int thread) {
    constexpr int kEights = kDim / 8;
#pragma unroll
    for (int i = thread; i < 2 * kTileTokens * kEights; i += kThreads) {
      const uint2 codes = PtrCast<const uint2>(stage)[i];
      PtrCast<uint4>(wide + i / kEights * kPitch + i % kEights * 16)[0] = make_uint4(
          Halves(codes.x), Halves(codes.x >> 16), Halves(codes.y), Halves(codes.y >> 16));
    }
  }

 private:
  // Two codes, the lower 16 bits, as half. Exact.
  WEFT_DEVICE static uint32_t Halves(uint32_t codes) {
    return PackHalfx2(ToFloat(E4m3{static_cast<uint8_t>(codes)}),
                      ToFloat(E4m3{static_cast<uint8_t>(codes >> 8)}));
  }
};

// Queries of kPacked (row, head) pairs, rounded, to shared memory; zeros where there are none.
template <int kDim, KvType kType, int kPacked, int kThreads>
WEFT_DEVICE void LoadQueries(const AttentionParams& p, const AttentionPlace& at,
                             SharedPtr<uint8_t> to, int thread) {
  for (int i = thread; i < kPacked * kDim / 2; i += kThreads) {
    const int r = i / (kDim / 2);
    const int d = i % (kDim / 2) * 2;
    float2 pair = make_float2(0, 0);
    if (r / at.group_heads < at.item.rows) {
      pair = PtrCast<const float2>(GlobalPtr<const float>(p.q) + at.Head(p, r) * kDim + d)[0];
    }
    PtrCast<uint32_t>(to + r * AttentionTile<kDim, kType>::kPitch + 2 * d)[0] =
        PackKv<kType>(pair.x, pair.y);
  }
}

// Results of a warp's 16 pairs: sum(i) is a lane's i-th accumulator, as WarpAttention::o.
template <int kDim, typename F>
WEFT_DEVICE void StorePairs(const AttentionParams& p, const AttentionPlace& at, const float (&l)[2],
                            const F& sum) {
  const int t = Lane() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = Lane() / 4 + 8 * half;
    const bool there = at.Position(r) >= 0;
    const int64_t to = there ? at.Head(p, at.packed + r) * kDim : 0;
#pragma unroll
    for (int j = 0; j < kDim / 8; j += 2) {
      float2 pairs[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int k = 4 * (j + i) + 2 * half;
        pairs[i] = make_float2(sum(k) / l[half], sum(k + 1) / l[half]);
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

// One warp's online softmax over a chain of tiles, for 16 (row, head) pairs whose queries are at
// `queries`.
template <int kDim, KvType kType>
struct WarpAttention {
  using T = AttentionTile<kDim, kType>;
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

  WEFT_DEVICE static void LoadQ(SharedPtr<uint8_t> queries, int k, uint32_t (&a)[4]) {
    LoadMatrix(a, queries + Lane() % 16 * T::kPitch + Lane() / 16 * 16 + 32 * k);
  }

  WEFT_DEVICE void KeepQueries(SharedPtr<uint8_t> queries) {
    if constexpr (kKeepQ) {
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) LoadQ(queries, k, q[k]);
    }
  }

  WEFT_DEVICE void Tile(const AttentionParams& p, const AttentionPlace& at, int token,
                        SharedPtr<uint8_t> queries, SharedPtr<uint8_t> stage) {
    const int lane = Lane();
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t keys[4];
      LoadMatrix(keys, stage + (lane / 16 * 8 + lane % 8) * T::kPitch + lane / 8 % 2 * 16 + 32 * k);
      const uint32_t first[2] = {keys[0], keys[1]};
      const uint32_t second[2] = {keys[2], keys[3]};
      if constexpr (kKeepQ) {
        MmaKv<kType>(s[0], q[k], first);
        MmaKv<kType>(s[1], q[k], second);
      } else {
        uint32_t a[4];
        LoadQ(queries, k, a);
        MmaKv<kType>(s[0], a, first);
        MmaKv<kType>(s[1], a, second);
      }
    }
    float grown[2];
    OnlineSoftmax(p, at, token, s, m, l, grown);
    const uint32_t weights[4] = {PackKv<kType>(s[0][0], s[0][1]), PackKv<kType>(s[0][2], s[0][3]),
                                 PackKv<kType>(s[1][0], s[1][1]), PackKv<kType>(s[1][2], s[1][3])};
    const SharedPtr<uint8_t> values =
        stage + T::kTileBytes + (lane / 8 % 2 * 8 + lane % 8) * T::kPitch + lane / 16 * 16;
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

  // l of the whole rows.
  WEFT_DEVICE void EndChain() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      l[half] += __shfl_xor_sync(kAllLanes, l[half], 1);
      l[half] += __shfl_xor_sync(kAllLanes, l[half], 2);
    }
  }
};

}  // namespace weft::gpu
