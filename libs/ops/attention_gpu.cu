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
#include "libs/ops/attention_decode_gpu.h"
#include "libs/ops/attention_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

template <int kDim, KvType kType>
WEFT_KERNEL(kAttentionThreads)
void PagedAttentionKernel(const AttentionParams p) {
  WEFT_DYNAMIC_SHARED(uint8_t, shared);
  AttendUnit<kDim, kType>(p, AttentionUnit<1>(), OwnBlock(), shared);
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

bool CanAttend(int32_t head_dim) {
  for (const int32_t dim : {16, 32, 64, 80, 96, 128, 256}) {
    if (dim == head_dim) return true;
  }
  return false;
}

LaunchResult PagedAttention(const AttentionParams& p, void* stream) {
  if (p.item_count == 0) return {};
  constexpr const char* kName = "paged_attention";
  return ForHeads(p, kName, [&]<int kDim, KvType kType>() {
    return Run(PagedAttentionKernel<kDim, kType>,
               {AttentionGrid(p), kAttentionThreads, AttentionShared<kDim, kType>::kBytes, kName},
               stream, p);
  });
}

LaunchResult MergeAttention(const AttentionParams& p, void* stream) {
  if (p.rows == 0 || p.chunks <= 1) return {};
  const int64_t heads = static_cast<int64_t>(p.rows) * p.heads;
  const auto blocks = static_cast<uint32_t>((heads + kAttentionWarps - 1) / kAttentionWarps);
  return Run(MergeAttentionKernel, {blocks, kAttentionThreads, 0, "merge_attention"}, stream, p);
}

}  // namespace weft::gpu
