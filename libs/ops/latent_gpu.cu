// See latent_gpu.h for the mathematics. Dynamic shared memory, for deploy/ci/check_kernels.py:
// occupancy: LatentAttentionKernel<512, 64, 0>, shared 206208
// occupancy: LatentAttentionKernel<512, 64, 1>, shared 206208
// occupancy: LatentAttentionKernel<32, 16, 0>, shared 23424
// occupancy: LatentAttentionKernel<32, 16, 1>, shared 23424
#include "libs/device/ptx.h"
#include "libs/ops/attention_parts_gpu.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/latent_gpu.h"

namespace weft::gpu {

constexpr int kHeadWarps = 4;
constexpr int kHeadThreads = kHeadWarps * kWarp;
constexpr int kHeadRows = 16;
constexpr int kHeadOutputs = 64;         // of a block: 16 of a warp
constexpr int kHeadInner = 64;           // of a copy
constexpr int kHeadPitch = 64 * 2 + 16;  // bytes of a row of a tile, of either kind
constexpr int kHeadStage = (64 + kHeadRows) * kHeadPitch;

template <bool kTransposed>
WEFT_DEVICE void CopyHeadTile(const HeadProductParams& p, int first_row, int head, int output,
                              int k, SharedPtr<uint8_t> stage) {
  const GlobalPtr<const uint16_t> weights =
      GlobalPtr<const uint16_t>(p.weights) + head * p.head_elements;
  // Rows of k with columns of n, or the other way.
  const int line_first = kTransposed ? output : k;
  const int lines = kTransposed ? p.outputs : p.inner;
  const int column_first = kTransposed ? k : output;
  const int columns = kTransposed ? p.inner : p.outputs;
#pragma unroll
  for (int n = 0; n < 64 * 8 / kHeadThreads; ++n) {
    const int i = n * kHeadThreads + static_cast<int>(threadIdx.x);
    const int line = i / 8;
    const int chunk = i % 8;
    const bool there = line_first + line < lines && column_first + 8 * chunk < columns;
    const int64_t from =
        there ? static_cast<int64_t>(line_first + line) * columns + column_first + 8 * chunk : 0;
    CopyAsyncZeroFill<16>(stage + line * kHeadPitch + 16 * chunk, weights + from, there ? 16 : 0);
  }
  CopyAsyncCommit();
  // x goes through registers: it may have to be rounded.
  const SharedPtr<uint8_t> x = stage + 64 * kHeadPitch;
#pragma unroll
  for (int n = 0; n < kHeadRows * 16 / kHeadThreads; ++n) {
    const int i = n * kHeadThreads + static_cast<int>(threadIdx.x);
    const int row = i / 16;
    const int four = i % 16;
    uint2 bits = make_uint2(0, 0);
    if (first_row + row < p.rows && k + 4 * four < p.inner) {
      const int64_t at = (first_row + row) * p.x_row + head * p.x_head + k + 4 * four;
      if (p.x_bf16 != nullptr) {
        bits = PtrCast<const uint2>(GlobalPtr<const uint16_t>(p.x_bf16) + at)[0];
      } else {
        const GlobalPtr<const float2> pairs =
            PtrCast<const float2>(GlobalPtr<const float>(p.x) + at);
        const float2 low = pairs[0];
        const float2 high = pairs[1];
        bits = make_uint2(PackBf16x2(low.x, low.y), PackBf16x2(high.x, high.y));
      }
    }
    PtrCast<uint2>(x + row * kHeadPitch + 8 * four)[0] = bits;
  }
}

// Grid: tiles of outputs, heads, tiles of rows.
template <bool kTransposed>
WEFT_KERNEL(kHeadThreads)
void HeadProductKernel(const HeadProductParams p) {
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  const int lane = Lane();
  const int head = static_cast<int>(blockIdx.y);
  const int output = static_cast<int>(blockIdx.x) * kHeadOutputs;
  const int first_row = static_cast<int>(blockIdx.z) * kHeadRows;
  float sums[2][4] = {};
  CopyHeadTile<kTransposed>(p, first_row, head, output, 0, shared);
  for (int k = 0, stage = 0; k < p.inner; k += kHeadInner, stage ^= 1) {
    CopyAsyncWait<0>();
    __syncthreads();  // this tile is there, and all are done with the one before
    if (k + kHeadInner < p.inner) {
      CopyHeadTile<kTransposed>(p, first_row, head, output, k + kHeadInner,
                                shared + (stage ^ 1) * kHeadStage);
    }
    const SharedPtr<uint8_t> tile = shared + stage * kHeadStage;
    const SharedPtr<uint8_t> x = tile + 64 * kHeadPitch;
#pragma unroll
    for (int i = 0; i < kHeadInner / 16; ++i) {
      if (k + 16 * i >= p.inner) break;
      uint32_t a[4], b[4];
      LoadMatrix(a, x + lane % 16 * kHeadPitch + lane / 16 * 16 + 32 * i);
      if constexpr (kTransposed) {
        LoadMatrix(b, tile + (16 * WarpId() + lane / 16 * 8 + lane % 8) * kHeadPitch +
                          lane / 8 % 2 * 16 + 32 * i);
      } else {
        LoadMatrixTrans(b, tile + (16 * i + lane / 8 % 2 * 8 + lane % 8) * kHeadPitch +
                               lane / 16 * 16 + 32 * WarpId());
      }
      const uint32_t first[2] = {b[0], b[1]};
      const uint32_t second[2] = {b[2], b[3]};
      MmaBf16(sums[0], a, first);
      MmaBf16(sums[1], a, second);
    }
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int n = output + 16 * WarpId() + 8 * j + 2 * (lane % 4);
    if (n >= p.outputs) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + lane / 4 + 8 * half;
      if (row >= p.rows) continue;
      const int64_t at = row * p.out_row + head * p.out_head + n;
      const float low = sums[j][2 * half];
      const float high = sums[j][2 * half + 1];
      if (p.out != nullptr) {
        PtrCast<float2>(GlobalPtr<float>(p.out) + at)[0] = make_float2(low, high);
      }
      if (p.out_bf16 != nullptr) {
        PtrCast<uint32_t>(GlobalPtr<uint16_t>(p.out_bf16) + at)[0] = PackBf16x2(low, high);
      }
    }
  }
}

// Element i of `rope_dim` values at `x`, rotated.
WEFT_DEVICE float RotatedAt(GlobalPtr<const float> x, GlobalPtr<const float> cos_sin, int rope_dim,
                            bool neighbours, int i) {
  const int pairs = rope_dim / 2;
  const int pair = neighbours ? i / 2 : i % pairs;
  const bool second = neighbours ? i % 2 == 1 : i >= pairs;
  const int apart = neighbours ? 1 : pairs;
  const float own = x[i];
  const float other = x[second ? i - apart : i + apart];
  const float c = cos_sin[pair];
  const float s = cos_sin[pair + pairs];
  return second ? other * s + own * c : own * c - other * s;
}

// Grid: heads and one more, which writes the page; rows.
WEFT_KERNEL(kHeadThreads) void LatentCacheKernel(const LatentCacheParams p) {
  const int head = static_cast<int>(blockIdx.x);
  const int64_t row = blockIdx.y;
  const int thread = static_cast<int>(threadIdx.x);
  const int width = p.kv_lora + p.rope_dim;
  const GlobalPtr<const float> cos_sin = GlobalPtr<const float>(p.cos_sin) + row * p.rope_dim;
  if (head < p.heads) {
    const GlobalPtr<const float> q = GlobalPtr<const float>(p.q) +
                                     (row * p.heads + head) * (p.nope_dim + p.rope_dim) +
                                     p.nope_dim;
    const GlobalPtr<float> out =
        GlobalPtr<float>(p.latent_q) + (row * p.heads + head) * width + p.kv_lora;
    for (int i = thread; i < p.rope_dim; i += kHeadThreads) {
      out[i] = RotatedAt(q, cos_sin, p.rope_dim, p.neighbours != 0, i);
    }
    return;
  }
  const int slot = GlobalPtr<const int32_t>(p.slots)[row];
  const GlobalPtr<uint16_t> out = GlobalPtr<uint16_t>(p.pages) + static_cast<int64_t>(slot) * width;
  const GlobalPtr<const uint16_t> latent = GlobalPtr<const uint16_t>(p.latent) + row * p.kv_lora;
  const GlobalPtr<const float> k_rope = GlobalPtr<const float>(p.k_rope) + row * p.k_rope_stride;
  for (int i = thread; i < width; i += kHeadThreads) {
    const float x = i < p.kv_lora
                        ? ToFloat(Bf16{latent[i]})
                        : RotatedAt(k_rope, cos_sin, p.rope_dim, p.neighbours != 0, i - p.kv_lora);
    out[i] = p.kv_type == KvType::kHalf ? FromFloat<Half>(x).bits : FromFloat<Bf16>(x).bits;
  }
}

constexpr int kLatentTile = 64;  // tokens of a copy

template <int kLora, int kRope>
struct LatentShared {
  static constexpr int kWidth = kLora + kRope;
  static constexpr int kPitch = kWidth * 2 + 16;
  static constexpr int kTileBytes = kLatentTile * kPitch;
  static constexpr int kScorePitch = kLatentTile + 8;  // floats: eight rows in different banks
  static constexpr int kQ = 2 * kTileBytes;
  static constexpr int kScores = kQ + kRows * kPitch;
  static constexpr int kRunning = kScores + kRows * kScorePitch * 4;  // float [kRows][kLora + 8]
  static constexpr int kRunningPitch = kLora + 8;
  static constexpr int kRunningMl = kRunning + kRows * kRunningPitch * 4;
  static constexpr int kBytes = kRunningMl + kRows * 2 * 4;
};

// 64 tokens' latents; zeros after the last.
template <int kLora, int kRope>
WEFT_DEVICE void CopyLatents(const AttentionParams& p, const AttentionPlace& at, int token,
                             SharedPtr<uint8_t> stage) {
  using S = LatentShared<kLora, kRope>;
  constexpr int kChunks = S::kWidth / 8;
  const GlobalPtr<const uint16_t> pages(p.k_pages);
  for (int i = static_cast<int>(threadIdx.x); i < kLatentTile * kChunks; i += kAttentionThreads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const int t = token + row;
    int64_t from = 0;
    if (t < at.tokens) {
      const int page = GlobalPtr<const int32_t>(p.tables)[at.item.table + t / p.block_tokens];
      from = (static_cast<int64_t>(page) * p.block_tokens + t % p.block_tokens) * S::kWidth +
             8 * chunk;
    }
    CopyAsyncZeroFill<16>(stage + row * S::kPitch + 16 * chunk, pages + from,
                          t < at.tokens ? 16 : 0);
  }
  CopyAsyncCommit();
}

// Grid as PagedAttentionKernel's.
template <int kLora, int kRope, KvType kType>
WEFT_KERNEL(kAttentionThreads)
void LatentAttentionKernel(const AttentionParams p) {
  using S = LatentShared<kLora, kRope>;
  constexpr int kOwn = kLora / kAttentionWarps / 8;  // tiles of eight columns of a warp
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  AttentionPlace at;
  if (!PlaceOfBlock(p, p.items, OwnBlock(), at)) return;
  const int lane = Lane();
  const int g = lane / 4;
  const int t = lane % 4;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * S::kWidth / 2; i += kAttentionThreads) {
    const int r = i / (S::kWidth / 2);
    const int d = i % (S::kWidth / 2) * 2;
    float2 pair = make_float2(0, 0);
    if (r / at.group_heads < at.item.rows) {
      const int64_t head = at.Head(p, r);
      pair = PtrCast<const float2>(GlobalPtr<const float>(p.q) + head * S::kWidth + d)[0];
    }
    PtrCast<uint32_t>(shared + S::kQ + r * S::kPitch + 2 * d)[0] = PackKv<kType>(pair.x, pair.y);
  }
  const SharedPtr<float> scores = PtrCast<float>(shared + S::kScores);
  const SharedPtr<float> running = PtrCast<float>(shared + S::kRunning);
  const SharedPtr<float> running_ml = PtrCast<float>(shared + S::kRunningMl);
  const int only = at.chunk;
  for (bool first_chunk = true; at.chunk <= at.last_chunk; ++at.chunk, first_chunk = false) {
    const int base = at.chunk * kChunkTokens;
    const int end = base + kChunkTokens < at.tokens ? base + kChunkTokens : at.tokens;
    float o[kOwn][4] = {};
    float m[2] = {kNone, kNone};
    float l[2] = {0, 0};
    CopyLatents<kLora, kRope>(p, at, base, shared);
    for (int token = base, stage = 0; token < end; token += kLatentTile, stage ^= 1) {
      CopyAsyncWait<0>();
      __syncthreads();  // the tile is there; all are done with the other one and the scores
      if (token + kLatentTile < end) {
        CopyLatents<kLora, kRope>(p, at, token + kLatentTile, shared + (stage ^ 1) * S::kTileBytes);
      }
      const SharedPtr<uint8_t> tile = shared + stage * S::kTileBytes;
      float own[2][4] = {};  // of 16 tokens
#pragma unroll 4
      for (int k = 0; k < S::kWidth / 16; ++k) {
        uint32_t a[4], keys[4];
        LoadMatrix(a, shared + S::kQ + lane % 16 * S::kPitch + lane / 16 * 16 + 32 * k);
        LoadMatrix(keys, tile + (16 * WarpId() + lane / 16 * 8 + lane % 8) * S::kPitch +
                             lane / 8 % 2 * 16 + 32 * k);
        const uint32_t low[2] = {keys[0], keys[1]};
        const uint32_t high[2] = {keys[2], keys[3]};
        MmaKv<kType>(own[0], a, low);
        MmaKv<kType>(own[1], a, high);
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          PtrCast<float2>(scores + (g + 8 * half) * S::kScorePitch + 16 * WarpId() + 8 * j +
                          2 * t)[0] = make_float2(own[j][2 * half], own[j][2 * half + 1]);
        }
      }
      __syncthreads();
      float s[kLatentTile / 8][4];
#pragma unroll
      for (int j = 0; j < kLatentTile / 8; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float2 pair =
              PtrCast<const float2>(scores + (g + 8 * half) * S::kScorePitch + 8 * j + 2 * t)[0];
          s[j][2 * half] = pair.x;
          s[j][2 * half + 1] = pair.y;
        }
      }
      float grown[2];
      OnlineSoftmax(p, at, token, s, m, l, grown);
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) o[j][i] *= grown[i / 2];
      }
#pragma unroll
      for (int k = 0; k < kLatentTile / 32; ++k) {
        uint32_t weights[2][4];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int j = 4 * k + 2 * i;
          weights[i][0] = PackKv<kType>(s[j][0], s[j][1]);
          weights[i][1] = PackKv<kType>(s[j][2], s[j][3]);
          weights[i][2] = PackKv<kType>(s[j + 1][0], s[j + 1][1]);
          weights[i][3] = PackKv<kType>(s[j + 1][2], s[j + 1][3]);
        }
#pragma unroll
        for (int j = 0; j < kOwn; ++j) {
          uint32_t v[4];  // 32 tokens of eight columns
          LoadMatrixTrans(v, tile + (32 * k + lane) * S::kPitch + (WarpId() * kOwn + j) * 16);
          const uint32_t low[2] = {v[0], v[1]};
          const uint32_t high[2] = {v[2], v[3]};
          MmaKv<kType>(o[j], weights[0], low);
          MmaKv<kType>(o[j], weights[1], high);
        }
      }
    }
    // The chunk's sums join those before, in the order that the merge has too.
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = g + 8 * half;
      l[half] += __shfl_xor_sync(kAllLanes, l[half], 1);
      l[half] += __shfl_xor_sync(kAllLanes, l[half], 2);
      float before = kNone, l_before = 0;
      if (!first_chunk) {
        before = running_ml[2 * row];
        l_before = running_ml[2 * row + 1];
      }
      const float both = fmaxf(before, m[half]);
      const float wa = Weight(before, both), wb = Weight(m[half], both);
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
        const SharedPtr<float2> sum =
            PtrCast<float2>(running + row * S::kRunningPitch + (WarpId() * kOwn + j) * 8 + 2 * t);
        float2 now = make_float2(o[j][2 * half], o[j][2 * half + 1]);
        if (!first_chunk) {
          const float2 old = sum[0];
          now = make_float2(Blend(old.x, wa, now.x, wb), Blend(old.y, wa, now.y, wb));
        }
        sum[0] = now;
      }
      if (!first_chunk) l[half] = Blend(l_before, wa, l[half], wb);
      m[half] = both;
    }
    __syncthreads();  // all have read the running maxima
    if (WarpId() == 0 && t == 0) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        running_ml[2 * (g + 8 * half)] = m[half];
        running_ml[2 * (g + 8 * half) + 1] = l[half];
      }
    }
    __syncthreads();
  }
  FinishAttention<kLora>(p, at, only, running, S::kRunningPitch, running_ml,
                         static_cast<int>(threadIdx.x));
}

namespace {

template <int kLora, int kRope>
LaunchResult Attend(const AttentionParams& p, void* stream, const char* name) {
  const LaunchShape shape{AttentionGrid(p), kAttentionThreads, LatentShared<kLora, kRope>::kBytes,
                          name};
  return p.kv_type == KvType::kHalf
             ? Run(LatentAttentionKernel<kLora, kRope, KvType::kHalf>, shape, stream, p)
             : Run(LatentAttentionKernel<kLora, kRope, KvType::kBf16>, shape, stream, p);
}

}  // namespace

LaunchResult HeadProduct(const HeadProductParams& p, void* stream) {
  if (p.rows == 0) return {};
  if (p.inner % 8 != 0 || p.outputs % 8 != 0) return {.error = "shape", .kernel = "head_product"};
  const LaunchShape shape{dim3(static_cast<uint32_t>((p.outputs + kHeadOutputs - 1) / kHeadOutputs),
                               static_cast<uint32_t>(p.heads),
                               static_cast<uint32_t>((p.rows + kHeadRows - 1) / kHeadRows)),
                          kHeadThreads, 2 * kHeadStage, "head_product"};
  return p.transposed != 0 ? Run(HeadProductKernel<true>, shape, stream, p)
                           : Run(HeadProductKernel<false>, shape, stream, p);
}

LaunchResult LatentCache(const LatentCacheParams& p, void* stream) {
  if (p.rows == 0) return {};
  return Run(LatentCacheKernel,
             {dim3(static_cast<uint32_t>(p.heads + 1), static_cast<uint32_t>(p.rows)), kHeadThreads,
              0, "latent_cache"},
             stream, p);
}

bool CanAttendLatent(int32_t kv_lora, int32_t rope_dim) {
  return (kv_lora == 512 && rope_dim == 64) || (kv_lora == 32 && rope_dim == 16);
}

LaunchResult LatentAttention(const AttentionParams& p, int32_t rope_dim, void* stream) {
  if (p.item_count == 0) return {};
  if (!CanAttendLatent(p.head_dim, rope_dim) || p.kv_heads != 1 || p.window != 0 ||
      p.kv_type == KvType::kFp8) {
    return {.error = "this latent is not supported", .kernel = "latent_attention"};
  }
  return p.head_dim == 512 ? Attend<512, 64>(p, stream, "latent_attention_512")
                           : Attend<32, 16>(p, stream, "latent_attention_32");
}

}  // namespace weft::gpu
