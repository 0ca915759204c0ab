// See sample_gpu.h for the mathematics.
#include "libs/ops/gpu_kernel.h"
#include "libs/ops/sample_gpu.h"

namespace weft::gpu {

constexpr int kSampleThreads = 512;
constexpr int kSampleWarps = kSampleThreads / kWarp;
constexpr int kDigits = 256;
constexpr float kUnit = 17592186044416.0f;  // 2^44: the weight of the most likely token
constexpr float kNegInf = -INFINITY;

using Sum = unsigned long long;

// exp(x) of x <= 0, no multiplication contracted: libs/sampling/vector_math.cc.
WEFT_DEVICE float ExpNegative(float x) {
  const bool tiny = !(x >= -87.0f);
  const float clamped = tiny ? 0.0f : x;
  const float n = __fsub_rn(__fadd_rn(__fmul_rn(clamped, 1.44269504f), 12582912.0f), 12582912.0f);
  const float r =
      __fsub_rn(__fsub_rn(clamped, __fmul_rn(n, 0.693359375f)), __fmul_rn(n, -2.12194440e-4f));
  float p = 1.9875691500e-4f;
  p = __fadd_rn(__fmul_rn(p, r), 1.3981999507e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2f);
  p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1f);
  p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1f);
  const float e = __fadd_rn(__fadd_rn(__fmul_rn(p, __fmul_rn(r, r)), r), 1.0f);
  const float power = __int_as_float((static_cast<int>(n) + 127) << 23);
  return tiny ? 0.0f : __fmul_rn(e, power);
}

// The first word of Philox4x32-10 and the second: sampling/philox.h.
WEFT_DEVICE Sum RandomBits(uint64_t seed, uint32_t choice, uint32_t output_index) {
  uint32_t c0 = output_index, c1 = 0, c2 = choice, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    const uint32_t h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return static_cast<Sum>(c0) << 32 | c1;
}

// floor(u * total), u the upper 53 of `bits` as a fraction.
WEFT_DEVICE Sum Scaled(Sum bits, Sum total) {
  const Sum u = bits >> 11;
  // total = high 2^32 + low, below 2^63: no product overflows.
  const Sum low = total & 0xffffffffull, high = total >> 32;
  const Sum u_low = u & 0xffffffffull, u_high = u >> 32;
  const Sum middle = u_high * low + (u_low * low >> 32);
  const Sum cross = u_low * high + (middle & 0xffffffffull);
  const Sum upper = u_high * high + (middle >> 32) + (cross >> 32);  // of 128 bits: [127:64]
  return upper << 11 | (cross & 0xffffffffull) >> 21;
}

struct SampleShared {
  SharedPtr<uint32_t> counts;  // [kDigits]
  SharedPtr<Sum> sums;         // [kDigits]
  SharedPtr<Sum> parts;        // [kSampleWarps]
  SharedPtr<Sum> found;        // [3]: of a bucket its digit, what lies before it, its elements
};

WEFT_DEVICE Sum BlockTotal(Sum v, SharedPtr<Sum> parts) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) v += __shfl_xor_sync(kAllLanes, v, apart);
  if (Lane() == 0) parts[WarpId()] = v;
  __syncthreads();
  Sum total = 0;
#pragma unroll
  for (int w = 0; w < kSampleWarps; ++w) total += parts[w];
  __syncthreads();
  return total;
}
WEFT_DEVICE Sum BlockLargest(Sum v, SharedPtr<Sum> parts) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const Sum other = __shfl_xor_sync(kAllLanes, v, apart);
    v = other > v ? other : v;
  }
  if (Lane() == 0) parts[WarpId()] = v;
  __syncthreads();
  Sum largest = 0;
#pragma unroll
  for (int w = 0; w < kSampleWarps; ++w) {
    const Sum other = parts[w];
    largest = other > largest ? other : largest;
  }
  __syncthreads();
  return largest;
}

// What a pass sees of a row.
struct LogitRow {
  GlobalPtr<const float> logits;
  GlobalPtr<const uint32_t> mask;  // null: all are allowed
  int vocab;
  float max;
  float scale;
  float min_p;
  Sum cut;  // of kept elements: Rank is not below it

  // -inf where there is none.
  WEFT_DEVICE float Logit(int i) const {
    if (mask != nullptr && (mask[i / 32] >> (i % 32) & 1u) == 0) return kNegInf;
    const float x = logits[i];
    return x > kNegInf ? x + 0.0f : kNegInf;  // NaN too; no negative zero
  }
  // Larger is better: the logit, then the lower id. 0 of -inf.
  WEFT_DEVICE static Sum Rank(float x, int i) {
    if (x == kNegInf) return 0;
    const uint32_t bits = __float_as_uint(x);
    const uint32_t key = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return static_cast<Sum>(key) << 32 | ~static_cast<uint32_t>(i);
  }
  WEFT_DEVICE static int IdOf(Sum rank) {
    return static_cast<int>(~static_cast<uint32_t>(rank & 0xffffffffull));
  }
  // In units; 0 of what is not kept.
  WEFT_DEVICE Sum Weight(float x, int i) const {
    if (x == kNegInf || Rank(x, i) < cut) return 0;
    const float w = ExpNegative(__fmul_rn(__fsub_rn(x, max), scale));
    return w < min_p ? 0 : static_cast<Sum>(w * kUnit);
  }
};

// f(logit, id) of every element, a few loads ahead of their use.
template <typename F>
WEFT_DEVICE void ForRow(const LogitRow& row, const F& f) {
  constexpr int kAhead = 4;
#pragma unroll 1
  for (int base = static_cast<int>(threadIdx.x); base < row.vocab;
       base += kAhead * kSampleThreads) {
    float x[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int i = base + j * kSampleThreads;
      x[j] = i < row.vocab ? row.Logit(i) : kNegInf;
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) f(x[j], base + j * kSampleThreads);
  }
}

enum class By { kCount, kWeight };
enum class Order { kBest, kId };

// The element at which the running sum of 1 (kCount, of what has a rank) or of weights, in the
// order, first reaches `enough`: its rank. The sum of all is `enough` at least. All threads.
template <By kBy, Order kOrder>
WEFT_DEVICE Sum Select(const LogitRow& row, Sum enough, const SampleShared& s) {
  Sum prefix = 0;
  for (int digit = 7;; --digit) {
    if (threadIdx.x < kDigits) {
      s.counts[threadIdx.x] = 0;
      s.sums[threadIdx.x] = 0;
    }
    __syncthreads();
    ForRow(row, [&](float x, int i) {
      const Sum rank = LogitRow::Rank(x, i);
      const Sum amount = kBy == By::kCount ? (rank != 0 ? 1 : 0) : row.Weight(x, i);
      if (amount == 0) return;
      const Sum place = kOrder == Order::kBest ? rank : rank << 32;
      if (digit < 7 && place >> (8 * digit + 8) != prefix) return;
      const int bucket = static_cast<int>(place >> (8 * digit) & 0xff);
      atomicAdd(&s.counts[bucket], 1u);
      atomicAdd(&s.sums[bucket], amount);
    });
    __syncthreads();
    if (WarpId() == 0) {
      Sum before = 0;
      for (int round = 0; round < kDigits / kWarp; ++round) {
        const int bucket = kDigits - 1 - round * kWarp - Lane();
        const Sum own = s.sums[bucket];
        Sum running = own;
#pragma unroll
        for (int apart = 1; apart < kWarp; apart *= 2) {
          const Sum other = __shfl_up_sync(kAllLanes, running, apart);
          if (Lane() >= apart) running += other;
        }
        const uint32_t reached = __ballot_sync(kAllLanes, before + running >= enough);
        if (reached != 0) {
          if (Lane() == __ffs(static_cast<int>(reached)) - 1) {
            s.found[0] = static_cast<Sum>(bucket);
            s.found[1] = before + running - own;
            s.found[2] = s.counts[bucket];
          }
          break;
        }
        before += __shfl_sync(kAllLanes, running, kWarp - 1);
      }
    }
    __syncthreads();
    const Sum bucket = s.found[0], before = s.found[1], elements = s.found[2];
    prefix = prefix << 8 | bucket;
    enough -= before;
    __syncthreads();
    if (elements == 1) {
      // Whoever holds it says which it is.
      ForRow(row, [&](float x, int i) {
        const Sum rank = LogitRow::Rank(x, i);
        const Sum place = kOrder == Order::kBest ? rank : rank << 32;
        if (place >> (8 * digit) != prefix) return;
        if (kBy == By::kCount ? rank != 0 : row.Weight(x, i) != 0) s.found[0] = rank;
      });
      __syncthreads();
      const Sum rank = s.found[0];
      __syncthreads();
      return rank;
    }
    if (digit == 0) return prefix;  // only of kBest: ids differ in their first 32 bits
  }
}

WEFT_DEVICE Sum TotalWeight(const LogitRow& row, SharedPtr<Sum> parts) {
  Sum own = 0;
  ForRow(row, [&](float x, int i) { own += row.Weight(x, i); });
  return BlockTotal(own, parts);
}

// The best rank, 0 when there is none; and how many elements have one.
WEFT_DEVICE Sum BestRank(const LogitRow& row, SharedPtr<Sum> parts, Sum* candidates) {
  Sum best = 0;
  Sum count = 0;
  ForRow(row, [&](float x, int i) {
    const Sum rank = LogitRow::Rank(x, i);
    best = rank > best ? rank : best;
    count += rank != 0 ? 1 : 0;
  });
  *candidates = BlockTotal(count, parts);
  return BlockLargest(best, parts);
}

WEFT_DEVICE float Edited(float x, const LogitEdit& edit, const SampleRow& of) {
  if (edit.banned != 0) return kNegInf;
  x = __fadd_rn(x, edit.bias);
  if (edit.repeated != 0) {
    x = x > 0 ? __fdiv_rn(x, of.repetition_penalty) : __fmul_rn(x, of.repetition_penalty);
  }
  if (edit.count > 0) {
    const float lower = __fadd_rn(__fmul_rn(of.frequency_penalty, static_cast<float>(edit.count)),
                                  of.presence_penalty);
    x = __fsub_rn(x, lower);
  }
  return x;
}

// Narrows the row to what is kept and draws of it; the rank.
WEFT_DEVICE Sum Draw(const SampleRow& of, Sum candidates, LogitRow& row, const SampleShared& s) {
  const bool top_k = of.top_k > 0 && of.top_k < row.vocab;
  if (top_k && static_cast<Sum>(of.top_k) < candidates) {
    row.cut = Select<By::kCount, Order::kBest>(row, static_cast<Sum>(of.top_k), s);
  }
  Sum total = TotalWeight(row, s.parts);
  if (of.top_p < 1) {
    const Sum part = static_cast<Sum>(static_cast<double>(of.top_p) * static_cast<double>(total));
    row.cut = Select<By::kWeight, Order::kBest>(row, part > 0 ? part : 1, s);
    total = TotalWeight(row, s.parts);
  }
  if (of.min_p > 0) {
    row.min_p = of.min_p;
    total = TotalWeight(row, s.parts);
  }
  const Sum enough = Scaled(RandomBits(of.seed, of.choice, of.output_index), total) + 1;
  return top_k ? Select<By::kWeight, Order::kBest>(row, enough, s)
               : Select<By::kWeight, Order::kId>(row, enough, s);
}

// log(sum of e^logits) of the raw row, and its best tokens to the answer, unordered but ranked.
WEFT_DEVICE double LogTotal(LogitRow row, const SampleRow& of, GlobalPtr<int32_t> top_tokens,
                            GlobalPtr<float> top_logprobs, SharedPtr<Sum> ranks,
                            const SampleShared& s) {
  if (threadIdx.x < kMaxSampledTop) {
    top_tokens[threadIdx.x] = -1;
    top_logprobs[threadIdx.x] = 0;
  }
  Sum candidates = 0;
  const Sum best = BestRank(row, s.parts, &candidates);
  if (best == 0) return 0;
  row.max = row.Logit(LogitRow::IdOf(best));
  row.scale = 1;
  const double log_total = static_cast<double>(row.max) +
                           log(static_cast<double>(TotalWeight(row, s.parts)) * (1.0 / kUnit));
  const Sum top = static_cast<Sum>(of.top) < candidates ? static_cast<Sum>(of.top) : candidates;
  if (top == 0) return log_total;
  const Sum cut = Select<By::kCount, Order::kBest>(row, top, s);
  if (threadIdx.x == 0) s.counts[0] = 0;
  __syncthreads();
  ForRow(row, [&](float x, int i) {
    const Sum rank = LogitRow::Rank(x, i);
    if (rank >= cut) ranks[atomicAdd(&s.counts[0], 1u)] = rank;
  });
  __syncthreads();
  if (threadIdx.x < top) {
    const Sum own = ranks[threadIdx.x];
    int place = 0;
    for (Sum j = 0; j < top; ++j) {
      const Sum other = ranks[j];
      place += other > own ? 1 : 0;
    }
    const int id = LogitRow::IdOf(own);
    top_tokens[place] = id;
    top_logprobs[place] = static_cast<float>(static_cast<double>(row.Logit(id)) - log_total);
  }
  __syncthreads();
  return log_total;
}

WEFT_KERNEL(kSampleThreads, 1) void SampleKernel(const SampleParams p) {
  WEFT_SHARED(uint32_t, counts, kDigits);
  WEFT_SHARED(Sum, sums, kDigits);
  WEFT_SHARED(Sum, parts, kSampleWarps);
  WEFT_SHARED(Sum, found, 3);
  WEFT_SHARED(Sum, ranks, kMaxSampledTop);
  const SampleShared s{counts, sums, parts, found};
  const int64_t index = blockIdx.x;
  const SampleRow of = GlobalPtr<const SampleRow>(p.of)[index];
  const GlobalPtr<float> logits = GlobalPtr<float>(p.logits) + index * p.vocab;
  LogitRow row{logits, nullptr, p.vocab, 0, 0, 0, 0};
  const double log_total =
      of.logprobs != 0
          ? LogTotal(row, of, GlobalPtr<int32_t>(p.top_tokens) + index * kMaxSampledTop,
                     GlobalPtr<float>(p.top_logprobs) + index * kMaxSampledTop, ranks, s)
          : 0;

  const GlobalPtr<LogitEdit> edits(p.edits);
  for (int e = static_cast<int>(threadIdx.x); e < of.edits; e += kSampleThreads) {
    LogitEdit edit = edits[of.first_edit + e];
    edit.original = logits[edit.token];
    logits[edit.token] = Edited(edit.original, edit, of);
    edits[of.first_edit + e] = edit;
  }
  __syncthreads();
  if (of.mask >= 0) {
    row.mask =
        GlobalPtr<const uint32_t>(p.masks) + static_cast<int64_t>(of.mask) * ((p.vocab + 31) / 32);
  }
  Sum candidates = 0;
  Sum chosen = BestRank(row, parts, &candidates);
  row.max = chosen == 0 ? kNegInf : row.Logit(LogitRow::IdOf(chosen));
  const bool can = chosen != 0 && row.max < INFINITY;
  if (can && of.given < 0 && of.temperature > 0) {
    const float scale = __fdiv_rn(1.0f, of.temperature);
    row.scale = scale < 1e30f ? scale : 1e30f;
    chosen = Draw(of, candidates, row, s);
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < of.edits; e += kSampleThreads) {
    const LogitEdit edit = edits[of.first_edit + e];
    logits[edit.token] = edit.original;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const int token = !can ? -1 : of.given >= 0 ? of.given : LogitRow::IdOf(chosen);
  GlobalPtr<int32_t>(p.tokens)[index] = token;
  if (of.logprobs != 0) {
    if (!can) {
      GlobalPtr<float>(p.logprobs)[index] = 0;
      return;
    }
    const double value = static_cast<double>(static_cast<float>(logits[token])) - log_total;
    GlobalPtr<float>(p.logprobs)[index] =
        value > -9999.0 ? static_cast<float>(value < 0 ? value : 0) : -9999.0f;
  }
}

LaunchResult Sample(const SampleParams& p, void* stream) {
  if (p.rows == 0) return {};
  return Run(SampleKernel, {static_cast<uint32_t>(p.rows), kSampleThreads, 0, "sample"}, stream, p);
}

}  // namespace weft::gpu
