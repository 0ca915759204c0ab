// See expert_gpu.h for the mathematics.
#include "libs/ops/expert_gpu.h"
#include "libs/ops/gpu_kernel.h"

namespace weft::gpu {

constexpr int kRouteWarps = 4;
constexpr int kPerLane = kMostExperts / kWarp;
constexpr int kPermuteThreads = 512;
constexpr int kRowThreads = 256;
constexpr float kNotThere = -1.0f;  // below every probability
constexpr int kNobody = 1 << 30;

WEFT_DEVICE float WarpMax(float v) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, apart));
  }
  return v;
}

// The largest value of a warp and its number, the lower of equal ones; the same in all lanes.
struct Largest {
  float value;
  int number;
};
WEFT_DEVICE Largest WarpLargest(Largest own) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const float value = __shfl_xor_sync(kAllLanes, own.value, apart);
    const int number = __shfl_xor_sync(kAllLanes, own.number, apart);
    const bool better = value > own.value || (value == own.value && number < own.number);
    if (better) own = {value, number};
  }
  return own;
}

// A bit for each of the groups that may be chosen from.
WEFT_DEVICE uint32_t BestGroups(const RouteParams& p, const float (&left)[kPerLane]) {
  const int size = p.experts / p.groups;
  float best = kNotThere;  // of group `lane`
  for (int g = 0; g < p.groups; ++g) {
    float own = kNotThere;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if ((Lane() + i * kWarp) / size == g) own = fmaxf(own, left[i]);
    }
    own = WarpMax(own);
    if (Lane() == g) best = own;
  }
  uint32_t kept = 0;
  for (int n = 0; n < p.groups_used; ++n) {
    const Largest group = WarpLargest({Lane() < p.groups ? best : 2 * kNotThere, Lane()});
    kept |= 1u << group.number;
    if (Lane() == group.number) best = 2 * kNotThere;
  }
  return kept;
}

// A warp a row; lane l has experts l, l + 32, ..
WEFT_KERNEL(kRouteWarps* kWarp) void RouteKernel(const RouteParams p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRouteWarps + WarpId();
  if (row >= p.rows) return;
  const GlobalPtr<float> logits = GlobalPtr<float>(p.logits) + row * p.experts;
  const auto number = [](int i) { return Lane() + i * kWarp; };
  float left[kPerLane];
  float largest = -INFINITY;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    left[i] = number(i) < p.experts ? static_cast<float>(logits[number(i)]) : -INFINITY;
    largest = fmaxf(largest, left[i]);
  }
  float factor = 1;
  if (p.scoring == ExpertScoring::kSoftmax) {
    largest = WarpMax(largest);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      left[i] = expf(left[i] - largest);  // 0 where there is no expert
      sum += left[i];
    }
    factor = WarpSum(sum);
  }
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const bool there = number(i) < p.experts;
    left[i] = p.scoring == ExpertScoring::kSoftmax ? left[i] / factor : 1 / (1 + expf(-left[i]));
    if (there) {
      logits[number(i)] = left[i];
    } else {
      left[i] = 2 * kNotThere;
    }
  }
  if (p.groups_used < p.groups) {
    const uint32_t kept = BestGroups(p, left);
    const int size = p.experts / p.groups;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (number(i) < p.experts && (kept >> (number(i) / size) & 1u) == 0) left[i] = kNotThere;
    }
  }
  const GlobalPtr<int32_t> chosen = GlobalPtr<int32_t>(p.chosen) + row * p.used;
  const GlobalPtr<float> weights = GlobalPtr<float>(p.weights) + row * p.used;
  float sum = 0;
  __syncwarp();  // others' probabilities are read
  for (int k = 0; k < p.used; ++k) {
    Largest best{2 * kNotThere, kNobody};
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (left[i] > best.value) best = {left[i], number(i)};  // numbers ascend
    }
    best = WarpLargest(best);
    // What only its group excludes is chosen when nothing else is left, with its own probability.
    float weight = best.value;
    if (weight == kNotThere) weight = logits[best.number];
    sum += weight;
    if (Lane() == k % kWarp) {
      chosen[k] = best.number;
      weights[k] = weight;
    }
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (number(i) == best.number) left[i] = 2 * kNotThere;
    }
  }
  // Never a division by 0: sigmoids may all vanish.
  const float scale = p.normalise != 0 ? p.scale / fmaxf(sum, 1e-20f) : p.scale;
  for (int k = Lane(); k < p.used; k += kWarp) weights[k] = static_cast<float>(weights[k]) * scale;
}

// A block an expert; all count all experts, which is what says where an expert begins.
WEFT_KERNEL(kPermuteThreads) void PermuteKernel(const PermuteParams p) {
  constexpr int kWarps = kPermuteThreads / kWarp;
  WEFT_SHARED(int32_t, counts, kMostExperts);
  WEFT_SHARED(int32_t, in_warp, kWarps);
  const int expert = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  const GlobalPtr<const int32_t> chosen(p.chosen);
  for (int e = thread; e < p.experts; e += kPermuteThreads) counts[e] = 0;
  __syncthreads();
  for (int slot = thread; slot < p.slots; slot += kPermuteThreads) {
    atomicAdd(&counts[chosen[slot]], 1);
  }
  __syncthreads();
  int first = 0;
  int tile = 0;
  for (int e = 0; e < expert; ++e) {
    const int count = counts[e];
    first += count;
    tile += (count + p.tile_rows - 1) / p.tile_rows;
  }
  const int rows = counts[expert];
  const int tiles = (rows + p.tile_rows - 1) / p.tile_rows;
  const bool is_last = expert + 1 == p.experts;
  const GlobalPtr<ExpertTile> out(p.tiles);
  for (int i = thread; i < tiles; i += kPermuteThreads) {
    const int left = rows - i * p.tile_rows;
    out[tile + i] =
        ExpertTile{expert, first + i * p.tile_rows, left < p.tile_rows ? left : p.tile_rows, 0};
  }
  if (is_last) {
    for (int i = tile + tiles + thread; i < p.tile_count; i += kPermuteThreads) {
      out[i] = ExpertTile{0, 0, 0, 0};
    }
  }
  if (thread == 0) {
    GlobalPtr<int32_t>(p.first)[expert] = first;
    if (is_last) GlobalPtr<int32_t>(p.first)[p.experts] = first + rows;
  }
  const GlobalPtr<int32_t> place(p.place);
  const GlobalPtr<int32_t> row_at(p.row_at);
  int next = first;
  for (int base = 0; base < p.slots; base += kPermuteThreads) {
    const int slot = base + thread;
    const bool own = slot < p.slots && chosen[slot] == expert;
    const uint32_t vote = __ballot_sync(kAllLanes, own);
    if (Lane() == 0) in_warp[WarpId()] = __popc(vote);
    __syncthreads();
    int before = __popc(vote & ((1u << Lane()) - 1));
    int all = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const int count = in_warp[w];
      if (w < WarpId()) before += count;
      all += count;
    }
    if (own) {
      place[slot] = next + before;
      row_at[next + before] = slot / p.used;
    }
    next += all;
    __syncthreads();
  }
}

WEFT_KERNEL(kRowThreads) void GatherRowsKernel(const GatherRowsParams p) {
  const int64_t row = blockIdx.x;
  const int64_t from = GlobalPtr<const int32_t>(p.row_at)[row];
  const GlobalPtr<const uint4> in =
      PtrCast<const uint4>(GlobalPtr<const uint16_t>(p.x) + from * p.width);
  const GlobalPtr<uint4> out = PtrCast<uint4>(GlobalPtr<uint16_t>(p.out) + row * p.width);
  for (int i = static_cast<int>(threadIdx.x); i < p.width / 8; i += kRowThreads) {
    const uint4 eight = in[i];
    out[i] = eight;
  }
}

WEFT_KERNEL(kRowThreads) void CombineKernel(const CombineParams p) {
  const int64_t row = blockIdx.x;
  const GlobalPtr<const int32_t> place = GlobalPtr<const int32_t>(p.place) + row * p.used;
  const GlobalPtr<const float> weights = GlobalPtr<const float>(p.weights) + row * p.used;
  const GlobalPtr<const float4> x = PtrCast<const float4>(GlobalPtr<const float>(p.x));
  const int vectors = p.width / 4;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kRowThreads) {
    float4 sum = make_float4(0, 0, 0, 0);
    if (p.base != nullptr) {
      sum = PtrCast<const float4>(GlobalPtr<const float>(p.base))[row * vectors + i];
    }
    for (int k = 0; k < p.used; ++k) {
      const float w = weights[k];
      const float4 v = x[static_cast<int64_t>(place[k]) * vectors + i];
      sum = make_float4(__fmaf_rn(w, v.x, sum.x), __fmaf_rn(w, v.y, sum.y),
                        __fmaf_rn(w, v.z, sum.z), __fmaf_rn(w, v.w, sum.w));
    }
    PtrCast<float4>(GlobalPtr<float>(p.out))[row * vectors + i] = sum;
  }
}

LaunchResult RouteExperts(const RouteParams& p, void* stream) {
  if (p.rows == 0) return {};
  if (p.experts < 1 || p.experts > kMostExperts || p.used < 1 || p.used > p.experts) {
    return {.error = "experts", .kernel = "route"};
  }
  if (p.groups < 1 || p.groups > kMostExpertGroups || p.experts % p.groups != 0) {
    return {.error = "groups", .kernel = "route"};
  }
  const auto blocks = static_cast<uint32_t>((p.rows + kRouteWarps - 1) / kRouteWarps);
  return Run(RouteKernel, {blocks, kRouteWarps * kWarp, 0, "route"}, stream, p);
}

LaunchResult PermuteExperts(const PermuteParams& p, void* stream) {
  if (p.slots == 0) return {};
  if (p.experts < 1 || p.experts > kMostExperts) return {.error = "experts", .kernel = "permute"};
  return Run(PermuteKernel,
             {static_cast<uint32_t>(p.experts), kPermuteThreads, 0, "permute_experts"}, stream, p);
}

LaunchResult GatherRows(const GatherRowsParams& p, void* stream) {
  if (p.rows == 0) return {};
  if (p.width % 8 != 0) return {.error = "width", .kernel = "gather_rows"};
  return Run(GatherRowsKernel, {static_cast<uint32_t>(p.rows), kRowThreads, 0, "gather_rows"},
             stream, p);
}

LaunchResult CombineExperts(const CombineParams& p, void* stream) {
  if (p.rows == 0) return {};
  if (p.width % 4 != 0) return {.error = "width", .kernel = "combine"};
  return Run(CombineKernel, {static_cast<uint32_t>(p.rows), kRowThreads, 0, "combine_experts"},
             stream, p);
}

}  // namespace weft::gpu
