// See matmul_tiled_gpu.h for the mathematics and gpu_blocks.h for the formats. Dynamic shared
// memory, for deploy/ci/check_kernels.py:
// occupancy: TiledMatmulKernel<TiledBf16<64> >, shared 147456
// occupancy: TiledMatmulKernel<TiledBf16<128> >, shared 196608
// occupancy: TiledMatmulKernel<TiledFp8Codes>, shared 131072
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ4_0, 0> >, shared 110592
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ4_0, 1> >, shared 110592
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ4_1, 0> >, shared 118784
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ4_1, 1> >, shared 118784
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ8_0, 0> >, shared 77824
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ8_0, 1> >, shared 77824
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ4_K, 0> >, shared 110592
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ4_K, 1> >, shared 110592
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ6_K, 0> >, shared 126976
// occupancy: TiledMatmulKernel<TiledBlocks<BlocksQ6_K, 1> >, shared 126976
#include "libs/device/ptx.h"
#include "libs/ops/fp8_codes_gpu.h"
#include "libs/ops/gpu_blocks.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_tiled_gpu.h"
#include "libs/ops/skinny_gpu.h"

namespace weft::gpu {

constexpr int kOutputs = 128;     // of a block
constexpr int kWarpOutputs = 32;  // of a warp: two mma high
constexpr int kChains = kMatmulWarps;

// The order in which slices are taken: chain by chain.
struct SliceOrder {
  int slices;
  int chain = 0;
  int slice = 0;
  int number = 0;  // of all

  WEFT_DEVICE bool Done() const { return number >= slices; }
  // Whether the slice is its chain's last.
  WEFT_DEVICE bool EndsChain() const { return slice + kChains >= slices; }
  WEFT_DEVICE void Next() {
    ++number;
    if (EndsChain()) {
      slice = ++chain;
    } else {
      slice += kChains;
    }
  }
};

// kSlice columns of x for kRows rows: rows of whole 16-byte chunks, exchanged so that a warp's
// fragments lie in different banks. Columns beyond the last and rows beyond `end` are zero.
template <int kRows, int kSlice, typename Swizzled>
WEFT_DEVICE void CopyX(const uint16_t* x, int64_t cols, const SkinnyRows& rows, int slice,
                       SharedPtr<uint8_t> to, Swizzled swizzled) {
  constexpr int kChunks = kSlice / 8;
  const GlobalPtr<const uint16_t> from(x);
#pragma unroll
  for (int n = 0; n < kRows * kChunks / kMatmulThreads; ++n) {
    const int i = n * kMatmulThreads + static_cast<int>(threadIdx.x);
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const int64_t column = static_cast<int64_t>(slice) * kSlice + 8 * chunk;
    const bool there = rows.first + row < rows.end && column < cols;
    const int64_t at = there ? (static_cast<int64_t>(rows.first) + row) * cols + column : 0;
    CopyAsyncZeroFill<16>(to + row * kSlice * 2 + 16 * swizzled(row, chunk), from + at,
                          there ? 16 : 0);
  }
}

// Rows of weights that lie in whole 16-byte chunks: kSliceBytes of kOutputs outputs.
template <int kSliceBytes, typename Swizzled>
WEFT_DEVICE void CopyPlain(GlobalPtr<const uint8_t> weights, int64_t outputs, int64_t row_bytes,
                           int slice, SharedPtr<uint8_t> to, Swizzled swizzled) {
  constexpr int kChunks = kSliceBytes / 16;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kOutputs;
#pragma unroll
  for (int n = 0; n < kOutputs * kChunks / kMatmulThreads; ++n) {
    const int i = n * kMatmulThreads + static_cast<int>(threadIdx.x);
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const int64_t byte = static_cast<int64_t>(slice) * kSliceBytes + 16 * chunk;
    const bool there = first + row < outputs && byte < row_bytes;
    const int64_t at = there ? (first + row) * row_bytes + byte : 0;
    CopyAsyncZeroFill<16>(to + row * kSliceBytes + 16 * swizzled(row, chunk), weights + at,
                          there ? 16 : 0);
  }
}

// Where a warp works: 32 outputs from `output` on, kTiles times 8 rows from `row` on.
template <int kRows>
struct WarpPlace {
  static constexpr int kTiles = kRows / 2 / kColumn;
  int output = WarpId() / 2 * kWarpOutputs;
  int row = WarpId() % 2 * (kRows / 2);
  int g = Lane() / 4;
  int t = Lane() % 4;
};

// ---- Formats: how a slice is staged, and its products added to a warp's sums.
// sums[m][j][r] is of output 16 m + g + r / 2 * 8 and row 8 j + 2 t + r % 2.

template <int kTileRows>
struct TiledBf16 {
  static constexpr int kRows = kTileRows;
  static constexpr int kSlice = 128;
  static constexpr int kStages = 3;
  static constexpr int kWeightBytes = kOutputs * kSlice * 2;
  using Params = SkinnyParams;
  using Place = WarpPlace<kRows>;
  using Sums = float[2][Place::kTiles][4];

  WEFT_DEVICE static int Swizzled(int row, int chunk) { return chunk ^ ((row & 1) << 2); }

  WEFT_DEVICE static void Copy(const Params& p, const SkinnyRows& rows, int slice,
                               SharedPtr<uint8_t> stage) {
    const GlobalPtr<const uint8_t> weights = GlobalPtr<const uint8_t>(p.weights) + rows.expert_at;
    CopyPlain<kSlice * 2>(weights, p.outputs, p.row_bytes, slice, stage, Swizzled);
    CopyX<kRows, kSlice>(p.x, p.cols, rows, slice, stage + kWeightBytes, Swizzled);
  }
  WEFT_DEVICE static void Multiply(const Params&, const SkinnyRows&, const Place& at, int,
                                   SharedPtr<const uint8_t> stage, Sums& sums) {
    const auto chunk_of = [&](SharedPtr<const uint8_t> tile, int row, int group) -> uint4 {
      return PtrCast<const uint4>(tile + row * kSlice * 2 +
                                  16 * Swizzled(row, 4 * group + at.t))[0];
    };
#pragma unroll
    for (int i = 0; i < kSlice / 32; ++i) {
      uint4 c[2], d[2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        c[m] = chunk_of(stage, at.output + 16 * m + at.g, i);
        d[m] = chunk_of(stage, at.output + 16 * m + at.g + 8, i);
      }
#pragma unroll
      for (int j = 0; j < Place::kTiles; ++j) {
        const uint4 v = chunk_of(stage + kWeightBytes, at.row + kColumn * j + at.g, i);
        const uint32_t b[2] = {v.x, v.y};
        const uint32_t e[2] = {v.z, v.w};
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          const uint32_t first[4] = {c[m].x, d[m].x, c[m].y, d[m].y};
          const uint32_t second[4] = {c[m].z, d[m].z, c[m].w, d[m].w};
          MmaBf16(sums[m][j], first, b);
          MmaBf16(sums[m][j], second, e);
        }
      }
    }
  }
  WEFT_DEVICE static void EndChain(const Params&, const SkinnyRows&, const Place&, Sums&) {}
};

struct TiledFp8Codes {
  static constexpr int kRows = kTiledRows;
  static constexpr int kSlice = 128;
  static constexpr int kStages = 4;
  static constexpr int kWeightBytes = kOutputs * kSlice;
  using Params = SkinnyFp8Params;
  using Place = WarpPlace<kRows>;
  using Sums = float[2][Place::kTiles][4];

  WEFT_DEVICE static int SwizzledWeight(int row, int chunk) { return chunk ^ ((row & 3) << 1); }
  WEFT_DEVICE static int SwizzledX(int row, int chunk) { return chunk ^ ((row & 1) << 2); }

  WEFT_DEVICE static void Copy(const Params& p, const SkinnyRows& rows, int slice,
                               SharedPtr<uint8_t> stage) {
    const GlobalPtr<const uint8_t> weights = GlobalPtr<const uint8_t>(p.weights) + rows.expert_at;
    CopyPlain<kSlice>(weights, p.outputs, p.cols, slice, stage, SwizzledWeight);
    CopyX<kRows, kSlice>(p.x, p.cols, rows, slice, stage + kWeightBytes, SwizzledX);
  }
  WEFT_DEVICE static void Multiply(const Params& p, const SkinnyRows& rows, const Place& at,
                                   int slice, SharedPtr<const uint8_t> stage, Sums& sums) {
    float dot[2][Place::kTiles][4] = {};
#pragma unroll
    for (int i = 0; i < kSlice / 32; ++i) {
      uint32_t first[2][4], second[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const auto codes = [&](int row) -> uint2 {
          return PtrCast<const uint2>(stage + row * kSlice +
                                      16 * SwizzledWeight(row, 2 * i + at.t / 2) +
                                      8 * (at.t % 2))[0];
        };
        const uint2 low = codes(at.output + 16 * m + at.g);
        const uint2 high = codes(at.output + 16 * m + at.g + 8);
        Fp8Fragment(low.x, high.x, first[m]);
        Fp8Fragment(low.y, high.y, second[m]);
      }
#pragma unroll
      for (int j = 0; j < Place::kTiles; ++j) {
        const int row = at.row + kColumn * j + at.g;
        const uint4 v = PtrCast<const uint4>(stage + kWeightBytes + row * kSlice * 2 +
                                             16 * SwizzledX(row, 4 * i + at.t))[0];
        const uint32_t b[2] = {v.x, v.y};
        const uint32_t e[2] = {v.z, v.w};
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          MmaBf16(dot[m][j], first[m], b);
          MmaBf16(dot[m][j], second[m], e);
        }
      }
    }
    const float scale = Fp8BlockScale(p, rows, static_cast<int64_t>(blockIdx.x) * kOutputs, slice);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int j = 0; j < Place::kTiles; ++j) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          sums[m][j][r] = __fmaf_rn(scale, dot[m][j][r], sums[m][j][r]);
        }
      }
    }
  }
  WEFT_DEVICE static void EndChain(const Params& p, const SkinnyRows& rows, const Place& at,
                                   Sums& sums) {
    if (p.channel == nullptr) return;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kOutputs + at.output + at.g;
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      const float low = Fp8ChannelScale(p, rows, first + 16 * m);
      const float high = Fp8ChannelScale(p, rows, first + 16 * m + 8);
#pragma unroll
      for (int j = 0; j < Place::kTiles; ++j) {
#pragma unroll
        for (int r = 0; r < 4; ++r) sums[m][j][r] *= r < 2 ? low : high;
      }
    }
  }
};

// Codes of a pair of bf16 times their scale, rounded to bf16.
WEFT_DEVICE uint32_t ScalePair(uint32_t codes, float scale, float offset) {
  const float low = ToFloat(Bf16{static_cast<uint16_t>(codes)});
  const float high = ToFloat(Bf16{static_cast<uint16_t>(codes >> 16)});
  return PackBf16x2(__fmaf_rn(scale, low, offset), __fmaf_rn(scale, high, offset));
}

template <typename F, Numerics kNumerics>
struct TiledBlocks {
  static constexpr int kRows = kTiledRows;
  static constexpr int kSlice = F::kSlice;
  static constexpr int kStages = 2;
  using S = Staging<F>;
  static constexpr int kWeightBytes = kOutputs * S::kPitch;
  using Params = SkinnyParams;
  using Place = WarpPlace<kRows>;
  using Sums = float[2][Place::kTiles][4];

  // Pairs of 16 bytes change places: four rows' 8-byte reads lie in different banks.
  WEFT_DEVICE static int Swizzled(int row, int chunk) { return chunk ^ ((row & 3) << 1); }

  WEFT_DEVICE static SliceSource<F> Source(const Params& p, const SkinnyRows& rows) {
    return {GlobalPtr<const uint8_t>(p.weights) + rows.expert_at,
            static_cast<int64_t>(blockIdx.x) * kOutputs, p.outputs, p.row_bytes};
  }
  WEFT_DEVICE static void Copy(const Params& p, const SkinnyRows& rows, int slice,
                               SharedPtr<uint8_t> stage) {
    Source(p, rows).template Copy<kOutputs, kMatmulThreads>(slice, stage,
                                                            static_cast<int>(threadIdx.x));
    CopyX<kRows, kSlice>(p.x, p.cols, rows, slice, stage + kWeightBytes, Swizzled);
  }
  WEFT_DEVICE static void Multiply(const Params& p, const SkinnyRows& rows, const Place& at,
                                   int slice, SharedPtr<const uint8_t> stage, Sums& sums) {
    constexpr int kPerBlock = F::kBlock / 32;
    const SliceSource<F> source = Source(p, rows);
    const int left = static_cast<int>(p.cols) - slice * kSlice;
    const int groups = left < kSlice ? left / 32 : kSlice / 32;
    SharedPtr<const uint8_t> from[2][2];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int high = 0; high < 2; ++high) {
        const int output = at.output + 16 * m + at.g + 8 * high;
        from[m][high] =
            stage + output * S::kPitch + static_cast<int>(source.Offset(output, slice) % 32);
      }
    }
#pragma unroll 1
    for (int i = 0; i < groups; ++i) {
      const int block = i / kPerBlock * F::kBytes;
      uint32_t codes[2][2][4];
      BlockScales scales[2][2];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int high = 0; high < 2; ++high) {
          F::Codes(from[m][high] + block, i % kPerBlock, at.t, codes[m][high]);
          scales[m][high] = F::Scales(from[m][high] + block, i % kPerBlock);
        }
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        uint32_t a[2][4];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            a[m][r] = codes[m][r % 2][2 * h + r / 2];
            if constexpr (kNumerics == Numerics::kFast) {
              const BlockScales& of = scales[m][r % 2];
              a[m][r] = ScalePair(a[m][r], of.scale[h], F::kBiased ? of.offset[h] : 0.0f);
            }
          }
        }
#pragma unroll
        for (int j = 0; j < Place::kTiles; ++j) {
          const int row = at.row + kColumn * j + at.g;
          const uint2 quad = PtrCast<const uint2>(stage + kWeightBytes + row * kSlice * 2 +
                                                  16 * Swizzled(row, 4 * i + 2 * h + at.t / 2) +
                                                  8 * (at.t % 2))[0];
          uint32_t b[2];
          XPair(quad, b);
          if constexpr (kNumerics == Numerics::kFast) {
            MmaBf16(sums[0][j], a[0], b);
            MmaBf16(sums[1][j], a[1], b);
          } else {
            float all[4] = {};
            if constexpr (F::kBiased) {
              const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
              MmaBf16(all, ones, b);
            }
#pragma unroll
            for (int m = 0; m < 2; ++m) {
              float dot[4] = {};
              MmaBf16(dot, a[m], b);
#pragma unroll
              for (int r = 0; r < 4; ++r) {
                const BlockScales& of = scales[m][r / 2];
                float& sum = sums[m][j][r];
                sum = __fmaf_rn(of.scale[h], dot[r], sum);
                if constexpr (F::kBiased) sum = __fmaf_rn(of.offset[h], all[r], sum);
              }
            }
          }
        }
      }
    }
  }
  WEFT_DEVICE static void EndChain(const Params&, const SkinnyRows&, const Place&, Sums&) {}
};

template <typename F>
constexpr uint32_t StageBytes() {
  return F::kWeightBytes + F::kRows * F::kSlice * 2;
}

template <typename F>
WEFT_KERNEL(kMatmulThreads, 1)
void TiledMatmulKernel(const typename F::Params p) {
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  constexpr int kStages = F::kStages;
  const SkinnyRows rows = RowsOfBlock<F::kRows>(p);
  if (rows.first == rows.end) return;
  const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kOutputs;
  const typename F::Place at;
  // A warp beyond the last output or row copies, and waits with the others.
  const bool idle = first_output + at.output >= p.outputs || rows.first + at.row >= rows.end;
  const int slices = static_cast<int>((p.cols + F::kSlice - 1) / F::kSlice);
  SliceOrder ahead{slices};
  const auto copy = [&]() {
    if (!ahead.Done()) {
      F::Copy(p, rows, ahead.slice, shared + ahead.number % kStages * StageBytes<F>());
      ahead.Next();
    }
    CopyAsyncCommit();
  };
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) copy();
  typename F::Sums total = {};
  typename F::Sums sums = {};
  for (SliceOrder now{slices}; !now.Done(); now.Next()) {
    CopyAsyncWait<kStages - 2>();
    __syncthreads();  // this slice is there, and all are done with the one before
    copy();
    if (idle) continue;
    F::Multiply(p, rows, at, now.slice, shared + now.number % kStages * StageBytes<F>(), sums);
    if (!now.EndsChain()) continue;
    F::EndChain(p, rows, at, sums);
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int j = 0; j < F::Place::kTiles; ++j) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          total[m][j][r] += sums[m][j][r];
          sums[m][j][r] = 0;
        }
      }
    }
  }
  CopyAsyncWait<0>();
  if (idle) return;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int high = 0; high < 2; ++high) {
      const int64_t output = first_output + at.output + 16 * m + 8 * high + at.g;
      if (output >= p.outputs) continue;
      const float bias = p.bias == nullptr ? 0.0f : GlobalPtr<const float>(p.bias)[output];
#pragma unroll
      for (int j = 0; j < F::Place::kTiles; ++j) {
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
          const int64_t row = rows.first + at.row + kColumn * j + 2 * at.t + odd;
          if (row >= rows.end) continue;
          float sum = total[m][j][2 * high + odd];
          if (p.bias != nullptr) sum += bias;
          GlobalPtr<float>(p.out)[row * p.outputs + output] = sum;
        }
      }
    }
  }
}

namespace {

template <typename F>
LaunchResult Tiled(const typename F::Params& p, void* stream, const char* name) {
  const int32_t tiles =
      p.experts.tiles == nullptr ? (p.rows + F::kRows - 1) / F::kRows : p.experts.count;
  return Run(TiledMatmulKernel<F>,
             {dim3(static_cast<uint32_t>((p.outputs + kOutputs - 1) / kOutputs),
                   static_cast<uint32_t>(tiles)),
              kMatmulThreads, F::kStages * StageBytes<F>(), name},
             stream, p);
}

template <Numerics kNumerics>
LaunchResult Dispatch(DType type, const SkinnyParams& p, void* stream) {
  switch (type) {
    case DType::kBF16:
      if (p.experts.tiles == nullptr && p.rows > kTiledRows) {
        return Tiled<TiledBf16<2 * kTiledRows>>(p, stream, "tiled_bf16_128");
      }
      return Tiled<TiledBf16<kTiledRows>>(p, stream, "tiled_bf16");
    case DType::kQ4_0:
      return Tiled<TiledBlocks<BlocksQ4_0, kNumerics>>(p, stream, "tiled_q4_0");
    case DType::kQ4_1:
      return Tiled<TiledBlocks<BlocksQ4_1, kNumerics>>(p, stream, "tiled_q4_1");
    case DType::kQ8_0:
      return Tiled<TiledBlocks<BlocksQ8_0, kNumerics>>(p, stream, "tiled_q8_0");
    case DType::kQ4_K:
      return Tiled<TiledBlocks<BlocksQ4_K, kNumerics>>(p, stream, "tiled_q4_k");
    case DType::kQ6_K:
      return Tiled<TiledBlocks<BlocksQ6_K, kNumerics>>(p, stream, "tiled_q6_k");
    default:
      return {.error = "this type is not supported", .kernel = "tiled_matmul"};
  }
}

}  // namespace

LaunchResult TiledMatmul(DType type, Numerics numerics, const SkinnyParams& p, void* stream) {
  if (p.rows == 0 || p.outputs == 0) return {};
  if (p.cols % 32 != 0) return {.error = "cols", .kernel = "tiled_matmul"};
  if (p.experts.tile_rows > kTiledRows) return {.error = "tile_rows", .kernel = "tiled_matmul"};
  return numerics == Numerics::kExact ? Dispatch<Numerics::kExact>(type, p, stream)
                                      : Dispatch<Numerics::kFast>(type, p, stream);
}

LaunchResult TiledFp8(const SkinnyFp8Params& p, void* stream) {
  if (p.rows == 0 || p.outputs == 0) return {};
  if (p.cols % 16 != 0) return {.error = "cols", .kernel = "tiled_fp8"};
  if (p.experts.tile_rows > kTiledRows) return {.error = "tile_rows", .kernel = "tiled_fp8"};
  return Tiled<TiledFp8Codes>(p, stream, "tiled_fp8");
}

}  // namespace weft::gpu
