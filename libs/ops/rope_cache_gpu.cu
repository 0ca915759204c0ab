#include "libs/ops/gpu_kernel.h"
#include "libs/ops/rope_cache_gpu.h"

namespace weft::gpu {

constexpr int kRopeWarps = 4;
constexpr int kMaxRopeHeadDim = 256;

WEFT_KERNEL(kRopeWarps* kWarp) void RopeCacheKernel(const RopeCacheParams p) {
  WEFT_SHARED(float, heads, kRopeWarps* kMaxRopeHeadDim);
  const int lane = Lane();
  const int dim = p.head_dim;
  const int row = static_cast<int>(blockIdx.y);
  const int head = static_cast<int>(blockIdx.x) * kRopeWarps + WarpId();
  if (head >= p.heads + 2 * p.kv_heads) return;
  const bool is_q = head < p.heads;
  const bool is_v = head >= p.heads + p.kv_heads;
  const int kv_head = is_v ? head - p.heads - p.kv_heads : head - p.heads;

  GlobalPtr<const float> in = is_q ? GlobalPtr<const float>(p.q) : GlobalPtr<const float>(p.k);
  if (is_v) in = p.v;
  in += is_q ? (static_cast<int64_t>(row) * p.heads + head) * dim
             : (static_cast<int64_t>(row) * p.kv_heads + kv_head) * dim;
  const SharedPtr<float> values = heads + WarpId() * kMaxRopeHeadDim;
  float squares = 0;
  for (int i = lane; i < dim; i += kWarp) {
    const float x = in[i];
    values[i] = x;
    squares += x * x;
  }
  const float* norm = is_v ? nullptr : is_q ? p.q_norm : p.k_norm;
  if (norm != nullptr) {
    const float mean = WarpSum(squares) / static_cast<float>(dim);
    const float inverse = 1.0f / sqrtf(mean + p.norm_eps);
    const GlobalPtr<const float> weight(norm);
    for (int i = lane; i < dim; i += kWarp) {
      const float x = values[i];
      values[i] = x * inverse * weight[i];
    }
  }
  __syncwarp();

  const int pairs = p.rope_dim / 2;
  const GlobalPtr<const float> cosines(p.cos_sin);
  const GlobalPtr<const int32_t> slots(p.slots);
  const int slot = slots[row];
  const int64_t page = slot / p.block_tokens;
  const int64_t target =
      ((page * p.kv_heads + kv_head) * p.block_tokens + slot % p.block_tokens) * dim;
  for (int i = lane; i < dim; i += kWarp) {
    float x = values[i];
    const int r = i - p.rope_first;
    if (!is_v && r >= 0 && r < p.rope_dim) {
      const int pair = p.neighbours != 0 ? r / 2 : r % pairs;
      const bool second = p.neighbours != 0 ? r % 2 == 1 : r >= pairs;
      const int apart = p.neighbours != 0 ? 1 : pairs;
      const float other = values[second ? i - apart : i + apart];
      const int64_t angle = static_cast<int64_t>(row) * p.rope_dim + pair;
      const float c = cosines[angle];
      const float s = cosines[angle + pairs];
      x = second ? other * s + x * c : x * c - other * s;
    }
    if (is_q) {
      GlobalPtr<float>(p.q)[(static_cast<int64_t>(row) * p.heads + head) * dim + i] = x;
    } else {
      const GlobalPtr<uint16_t> pages(is_v ? p.v_pages : p.k_pages);
      if (p.kv_type == KvType::kFp8) {
        PtrCast<uint8_t>(pages)[target + i] = FromFloat<E4m3>(x).bits;
      } else {
        pages[target + i] =
            p.kv_type == KvType::kHalf ? FromFloat<Half>(x).bits : FromFloat<Bf16>(x).bits;
      }
    }
  }
}

LaunchResult RopeCache(const RopeCacheParams& p, void* stream) {
  if (p.rows == 0) return {};
  if (p.head_dim > kMaxRopeHeadDim) return {.error = "head_dim", .kernel = "rope_cache"};
  const int blocks = (p.heads + 2 * p.kv_heads + kRopeWarps - 1) / kRopeWarps;
  return Run(RopeCacheKernel,
             {dim3(static_cast<uint32_t>(blocks), static_cast<uint32_t>(p.rows)),
              kRopeWarps * kWarp, 0, "rope_cache"},
             stream, p);
}

}  // namespace weft::gpu
