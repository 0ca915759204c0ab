// See matmul_gpu.h for the mathematics and gpu_blocks.h for the formats. Dynamic shared memory, for
// deploy/ci/check_kernels.py:
// occupancy: SkinnyBlocksKernel<BlocksQ4_0, 1>, shared 67584
// occupancy: SkinnyBlocksKernel<BlocksQ4_0, 2>, shared 67584
// occupancy: SkinnyBlocksKernel<BlocksQ4_1, 1>, shared 79872
// occupancy: SkinnyBlocksKernel<BlocksQ4_1, 2>, shared 79872
// occupancy: SkinnyBlocksKernel<BlocksQ8_0, 1>, shared 67584
// occupancy: SkinnyBlocksKernel<BlocksQ8_0, 2>, shared 67584
// occupancy: SkinnyBlocksKernel<BlocksQ4_K, 1>, shared 67584
// occupancy: SkinnyBlocksKernel<BlocksQ4_K, 2>, shared 67584
// occupancy: SkinnyBlocksKernel<BlocksQ6_K, 1>, shared 92160
// occupancy: SkinnyBlocksKernel<BlocksQ6_K, 2>, shared 92160
// occupancy: SkinnyBf16Kernel<1>, shared 5120
// occupancy: SkinnyBf16Kernel<2>, shared 10240
#include "libs/device/ptx.h"
#include "libs/ops/gpu_blocks.h"
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/matmul_gpu.h"
#include "libs/ops/skinny_gpu.h"

namespace weft::gpu {

constexpr int kStages = 3;  // copies in flight of a warp

// Weights of blocks. Each warp copies its own slices to shared memory, three ahead.
template <typename F, int kColumns>
WEFT_KERNEL(kMatmulThreads, kColumns == 1 ? F::kResident : 1)
void SkinnyBlocksKernel(const SkinnyParams p) {
  using S = Staging<F>;
  constexpr int kGroups = F::kSlice / 32;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  const int lane = Lane();
  const int g = lane / 4;
  const int t = lane % 4;
  const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kTile;
  const SkinnyRows rows = RowsOfBlock<kColumns * kColumn>(p);
  if (rows.first == rows.end) return;
  const GlobalPtr<const uint8_t> weights = GlobalPtr<const uint8_t>(p.weights) + rows.expert_at;
  const GlobalPtr<const uint16_t> x(p.x);
  constexpr int kStageBytes = kTile * S::kPitch;
  const SharedPtr<uint8_t> own = shared + WarpId() * kStages * kStageBytes;
  const int slices = static_cast<int>((p.cols + F::kSlice - 1) / F::kSlice);
  const SliceSource<F> source{weights, first_output, p.outputs, p.row_bytes};
  const auto copy = [&](int slice, int stage) {
    if (slice < slices) source.template Copy<kTile, kWarp>(slice, own + stage * kStageBytes, lane);
    CopyAsyncCommit();
  };

  float sums[kColumns][4] = {};
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) copy(WarpId() + s * kMatmulWarps, s);
  int stage = 0;
  for (int slice = WarpId(); slice < slices; slice += kMatmulWarps) {
    const int left = static_cast<int>(p.cols) - slice * F::kSlice;
    const int groups = left < F::kSlice ? left / 32 : kGroups;
    // x of the whole slice: its latency passes while the weights arrive.
    uint2 quads[kColumns][kGroups][2];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int row = rows.first + j * kColumn + g;
      const GlobalPtr<const uint16_t> at =
          x + static_cast<int64_t>(row) * p.cols + slice * F::kSlice + 4 * t;
#pragma unroll
      for (int i = 0; i < kGroups; ++i) {
        const bool there = row < rows.end && i < groups;
        quads[j][i][0] = XQuad(at + 32 * i, there);
        quads[j][i][1] = XQuad(at + 32 * i + 16, there);
      }
    }
    copy(slice + (kStages - 1) * kMatmulWarps, (stage + kStages - 1) % kStages);
    CopyAsyncWait<kStages - 1>();
    __syncwarp();
    const SharedPtr<const uint8_t> tile = own + stage * kStageBytes;
    const SharedPtr<const uint8_t> low =
        tile + g * S::kPitch + static_cast<int>(source.Offset(g, slice) % 32);
    const SharedPtr<const uint8_t> high =
        tile + (g + 8) * S::kPitch + static_cast<int>(source.Offset(g + 8, slice) % 32);
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      if (i >= groups) break;
      constexpr int kPerBlock = F::kBlock / 32;
      const int at = i / kPerBlock * F::kBytes;
      uint32_t c[4], d[4];
      F::Codes(low + at, i % kPerBlock, t, c);
      F::Codes(high + at, i % kPerBlock, t, d);
      const BlockScales s = F::Scales(low + at, i % kPerBlock);
      const BlockScales u = F::Scales(high + at, i % kPerBlock);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t a[4] = {c[2 * h], d[2 * h], c[2 * h + 1], d[2 * h + 1]};
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          uint32_t b[2];
          XPair(quads[j][i][h], b);
          float dot[4] = {};
          MmaBf16(dot, a, b);
          float all[4] = {};
          if constexpr (F::kBiased) {
            const uint32_t ones[4] = {kOnes, kOnes, kOnes, kOnes};
            MmaBf16(all, ones, b);
          }
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            const BlockScales& of = r < 2 ? s : u;
            sums[j][r] = __fmaf_rn(of.scale[h], dot[r], sums[j][r]);
            if constexpr (F::kBiased) sums[j][r] = __fmaf_rn(of.offset[h], all[r], sums[j][r]);
          }
        }
      }
    }
    __syncwarp();  // the stage may be overwritten now
    stage = (stage + 1) % kStages;
  }
  CopyAsyncWait<0>();
  __syncthreads();  // before the warps' sums take the place of the stages
  StoreTile<kColumns>(p, rows, sums, PtrCast<float>(shared));
}

// Weights of bf16, from memory to registers: a lane's 16 bytes are eight successive columns, four
// lanes' a whole 64 bytes; x is read likewise, so that both agree on the order of K.
template <int kColumns>
WEFT_KERNEL(kMatmulThreads, 2)
void SkinnyBf16Kernel(const SkinnyParams p) {
  constexpr int kStep = 32;
  constexpr int kUnroll = 4;
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  const int g = Lane() / 4;
  const int t = Lane() % 4;
  const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t last = p.outputs - 1;
  const SkinnyRows rows = RowsOfBlock<kColumns * kColumn>(p);
  if (rows.first == rows.end) return;
  const GlobalPtr<const uint16_t> weights =
      PtrCast<const uint16_t>(GlobalPtr<const uint8_t>(p.weights) + rows.expert_at);
  const auto row_of = [&](int64_t n) { return weights + (n < last ? n : last) * p.cols + 8 * t; };
  const GlobalPtr<const uint16_t> low = row_of(first_output + g);
  const GlobalPtr<const uint16_t> high = row_of(first_output + g + 8);
  const GlobalPtr<const uint16_t> x(p.x);
  const int steps = static_cast<int>(p.cols / kStep);
  float sums[kColumns][4] = {};
  for (int step = WarpId() * kUnroll; step < steps; step += kMatmulWarps * kUnroll) {
    uint4 c[kUnroll], d[kUnroll], v[kColumns][kUnroll];
    const uint4 zero = make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const bool there = step + i < steps;
      const int64_t at = static_cast<int64_t>(step + i) * kStep;
      c[i] = there ? PtrCast<const uint4>(low + at)[0] : zero;
      d[i] = there ? PtrCast<const uint4>(high + at)[0] : zero;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const int row = rows.first + j * kColumn + g;
        v[j][i] = there && row < rows.end
                      ? PtrCast<const uint4>(x + static_cast<int64_t>(row) * p.cols + at + 8 * t)[0]
                      : zero;
      }
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const uint32_t first[4] = {c[i].x, d[i].x, c[i].y, d[i].y};
      const uint32_t second[4] = {c[i].z, d[i].z, c[i].w, d[i].w};
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const uint32_t b[2] = {v[j][i].x, v[j][i].y};
        const uint32_t e[2] = {v[j][i].z, v[j][i].w};
        MmaBf16(sums[j], first, b);
        MmaBf16(sums[j], second, e);
      }
    }
  }
  StoreTile<kColumns>(p, rows, sums, PtrCast<float>(shared));
}

namespace {

template <typename F, int kColumns>
LaunchResult Blocks(const SkinnyParams& p, void* stream, const char* name) {
  constexpr uint32_t kStaged = kMatmulWarps * kStages * kTile * Staging<F>::kPitch;
  constexpr uint32_t kBytes = kStaged > PartsBytes<kColumns>() ? kStaged : PartsBytes<kColumns>();
  return Run(SkinnyBlocksKernel<F, kColumns>, Shape<kColumns>(p, kBytes, name), stream, p);
}

template <int kColumns>
LaunchResult Dispatch(DType type, const SkinnyParams& p, void* stream) {
  switch (type) {
    case DType::kBF16:
      return Run(SkinnyBf16Kernel<kColumns>,
                 Shape<kColumns>(p, PartsBytes<kColumns>(), "skinny_bf16"), stream, p);
    case DType::kQ4_0:
      return Blocks<BlocksQ4_0, kColumns>(p, stream, "skinny_q4_0");
    case DType::kQ4_1:
      return Blocks<BlocksQ4_1, kColumns>(p, stream, "skinny_q4_1");
    case DType::kQ8_0:
      return Blocks<BlocksQ8_0, kColumns>(p, stream, "skinny_q8_0");
    case DType::kQ4_K:
      return Blocks<BlocksQ4_K, kColumns>(p, stream, "skinny_q4_k");
    case DType::kQ6_K:
      return Blocks<BlocksQ6_K, kColumns>(p, stream, "skinny_q6_k");
    default:
      return {.error = "this type is not supported", .kernel = "skinny_matmul"};
  }
}

}  // namespace

bool CanMultiply(DType type) {
  switch (type) {
    case DType::kBF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
    case DType::kQ4_K:
    case DType::kQ6_K:
      return true;
    default:
      return false;
  }
}

LaunchResult SkinnyMatmul(DType type, const SkinnyParams& p, void* stream) {
  if (p.rows == 0 || p.outputs == 0) return {};
  if (p.cols % 32 != 0) return {.error = "cols", .kernel = "skinny_matmul"};
  if (p.experts.tile_rows > 2 * kColumn) return {.error = "tile_rows", .kernel = "skinny_matmul"};
  return FewRows(p) ? Dispatch<1>(type, p, stream) : Dispatch<2>(type, p, stream);
}

}  // namespace weft::gpu
