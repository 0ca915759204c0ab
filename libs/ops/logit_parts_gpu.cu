#include "libs/ops/gpu_kernel.h"
#include "libs/ops/logit_parts_gpu.h"

namespace weft::gpu {

constexpr int kPartThreads = 512;
constexpr int kPartWarps = kPartThreads / kWarp;
constexpr float kNothing = -INFINITY;

// Part of a row's softmax.
struct RunningPart {
  float max = kNothing;
  float sum = 0;
  int best = -1;

  WEFT_DEVICE static float Factor(float max, float to) {
    return max == kNothing ? 0.0f : expf(max - to);
  }
  // Tokens ascend: of equal ones the first stays.
  WEFT_DEVICE void Add(float logit, int token) {
    if (!(logit > kNothing)) return;
    if (logit > max) {
      sum = __fmaf_rn(sum, Factor(max, logit), 1.0f);
      max = logit;
      best = token;
    } else {
      sum += expf(logit - max);
    }
  }
  WEFT_DEVICE void Join(float other_max, float other_sum, int other_best) {
    if (other_best < 0) return;
    const float both = fmaxf(max, other_max);
    sum = __fmaf_rn(other_sum, Factor(other_max, both), __fmul_rn(sum, Factor(max, both)));
    if (best < 0 || other_max > max || (other_max == max && other_best < best)) best = other_best;
    max = both;
  }
};

WEFT_KERNEL(kPartThreads) void LogitPartsKernel(const LogitPartsParams p) {
  WEFT_SHARED(float, maxima, kPartWarps);
  WEFT_SHARED(float, sums, kPartWarps);
  WEFT_SHARED(int, bests, kPartWarps);
  constexpr int kAhead = 4;
  const int64_t row = blockIdx.x;
  const GlobalPtr<const float> logits = GlobalPtr<const float>(p.logits) + row * p.width;
  RunningPart part;
#pragma unroll 1
  for (int base = static_cast<int>(threadIdx.x); base < p.width; base += kAhead * kPartThreads) {
    float x[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int i = base + j * kPartThreads;
      x[j] = i < p.width ? logits[i] : kNothing;
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) part.Add(x[j], p.first_token + base + j * kPartThreads);
  }
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const float max = __shfl_down_sync(kAllLanes, part.max, static_cast<unsigned>(apart));
    const float sum = __shfl_down_sync(kAllLanes, part.sum, static_cast<unsigned>(apart));
    const int best = __shfl_down_sync(kAllLanes, part.best, static_cast<unsigned>(apart));
    if (Lane() < apart) part.Join(max, sum, best);
  }
  if (Lane() == 0) {
    maxima[WarpId()] = part.max;
    sums[WarpId()] = part.sum;
    bests[WarpId()] = part.best;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kPartWarps; ++w) part.Join(maxima[w], sums[w], bests[w]);
  LogitPart out{part.max, part.sum, part.best, kNothing};
  if (p.tokens != nullptr) {
    const int token = GlobalPtr<const int32_t>(p.tokens)[row] - p.first_token;
    if (token >= 0 && token < p.width) out.picked = logits[token];
  }
  GlobalPtr<LogitPart>(p.parts)[row] = out;
}

constexpr int kMergeThreads = 128;

WEFT_KERNEL(kMergeThreads) void MergeLogitPartsKernel(const MergeLogitPartsParams p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kMergeThreads + threadIdx.x;
  if (row >= p.rows) return;
  RunningPart all;
  float picked = kNothing;
  for (int rank = 0; rank < p.ranks; ++rank) {
    const LogitPart part = GlobalPtr<const LogitPart>(p.parts)[rank * int64_t{p.rows} + row];
    all.Join(part.max, part.sum, part.best);
    picked = fmaxf(picked, part.picked);
  }
  const float log_total = all.best < 0 ? kNothing : all.max + logf(all.sum);
  GlobalPtr<float>(p.log_totals)[row] = log_total;
  if (p.best != nullptr) GlobalPtr<int32_t>(p.best)[row] = all.best;
  if (p.logprobs != nullptr) {
    // As sample_gpu.h: not above 0, and no infinity.
    const float value = picked == kNothing ? -9999.0f : picked - log_total;
    GlobalPtr<float>(p.logprobs)[row] = value > -9999.0f ? (value < 0 ? value : 0.0f) : -9999.0f;
  }
}

LaunchResult LogitParts(const LogitPartsParams& p, void* stream) {
  if (p.rows == 0) return {};
  return Run(LogitPartsKernel, {static_cast<uint32_t>(p.rows), kPartThreads, 0, "logit_parts"},
             stream, p);
}

LaunchResult MergeLogitParts(const MergeLogitPartsParams& p, void* stream) {
  if (p.rows == 0) return {};
  const auto blocks = static_cast<uint32_t>((p.rows + kMergeThreads - 1) / kMergeThreads);
  return Run(MergeLogitPartsKernel, {blocks, kMergeThreads, 0, "merge_logit_parts"}, stream, p);
}

}  // namespace weft::gpu
