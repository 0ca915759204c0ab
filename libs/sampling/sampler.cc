#include "libs/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "libs/base/status.h"
#include "libs/sampling/philox.h"
#include "libs/sampling/vector_math.h"

namespace weft::sampling {
namespace {

constexpr float kNegInf = -std::numeric_limits<float>::infinity();
constexpr float kLowestLogprob = -9999.0F;  // JSON has no infinity
constexpr uint32_t kTokenDraw = 0;          // the first draw of an output index chooses its token

// Better first: larger logit, ties to the lower id.
constexpr auto kBetter = [](const auto& a, const auto& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
};

}  // namespace

Sampler::Sampler(int32_t vocab_size)
    : vocab_(static_cast<size_t>(vocab_size)),
      work_(vocab_),
      weights_(vocab_),
      block_max_((vocab_ + kMaxBlock - 1) / kMaxBlock),
      counts_(vocab_) {
  WEFT_CHECK(vocab_size > 0);
}

absl::StatusOr<Sample> Sampler::Choose(const SampleInput& in) {
  WEFT_CHECK(in.logits.size() == vocab_);
  std::span<const float> logits = in.logits;
  if (ChangesLogits(in)) {
    ChangeLogits(in);
    logits = work_;
  }
  const MaxResult max = Max(logits);
  if (max.index < 0 || !std::isfinite(max.value)) {
    return Internal("the model's logits leave no token to choose");
  }
  Sample sample;
  sample.token = in.params->temperature == 0.0F ? max.index : Draw(logits, max.value, in);
  if (in.params->logprobs) {
    sample.logprob = Score(in.logits, sample.token, in.params->top_logprobs);
  }
  return sample;
}

bool Sampler::ChangesLogits(const SampleInput& in) const {
  const SamplingParams& p = *in.params;
  return !p.logit_bias.empty() || p.repetition_penalty != 1.0F || p.presence_penalty != 0.0F ||
         p.frequency_penalty != 0.0F || !in.mask.empty() || in.output.size() < p.min_tokens;
}

void Sampler::ChangeLogits(const SampleInput& in) {
  const SamplingParams& p = *in.params;
  std::copy(in.logits.begin(), in.logits.end(), work_.begin());
  auto at = [](auto& v, int32_t id) -> auto& { return v[static_cast<size_t>(id)]; };

  for (const auto& [id, bias] : p.logit_bias) at(work_, id) += bias;

  // Each distinct token is treated once: counts_ says how often it is still to come.
  if (p.repetition_penalty != 1.0F) {
    auto penalise = [&](int32_t id) {
      if (at(counts_, id)++ > 0) return;
      float& logit = at(work_, id);
      logit = logit > 0.0F ? logit / p.repetition_penalty : logit * p.repetition_penalty;
    };
    for (int32_t id : in.prompt) penalise(id);
    for (int32_t id : in.output) penalise(id);
    for (int32_t id : in.prompt) at(counts_, id) = 0;
    for (int32_t id : in.output) at(counts_, id) = 0;
  }
  if (p.presence_penalty != 0.0F || p.frequency_penalty != 0.0F) {
    for (int32_t id : in.output) ++at(counts_, id);
    for (int32_t id : in.output) {
      const uint32_t count = at(counts_, id);
      if (count == 0) continue;
      at(work_, id) -= p.frequency_penalty * static_cast<float>(count) + p.presence_penalty;
      at(counts_, id) = 0;
    }
  }

  if (!in.mask.empty()) {
    WEFT_CHECK(in.mask.size() >= (vocab_ + 31) / 32);
    for (size_t i = 0; i < vocab_; ++i) {
      if ((in.mask[i / 32] >> (i % 32) & 1U) == 0) work_[i] = kNegInf;
    }
  }
  if (in.output.size() < p.min_tokens) {
    if (!p.ignore_eos) {
      for (int32_t id : in.eos_ids) at(work_, id) = kNegInf;
    }
    for (int32_t id : p.stop_token_ids) at(work_, id) = kNegInf;
  }
}

int32_t Sampler::Draw(std::span<const float> logits, float max, const SampleInput& in) {
  const SamplingParams& p = *in.params;
  // The bound keeps (max - max) * scale at zero for the smallest temperatures.
  const float scale = std::min(1.0F / p.temperature, 1e30F);
  const double u =
      UniformDraw(p.seed, in.choice, static_cast<uint32_t>(in.output.size()), kTokenDraw);
  const bool top_k = p.top_k > 0 && p.top_k < vocab_;
  const bool top_p = p.top_p < 1.0F;
  if (!top_k && !top_p && p.min_p == 0.0F) return DrawUnfiltered(logits, max, scale, u);

  if (top_k) {
    KeepTopK(logits, p.top_k);
    double total = 0.0;
    for (Candidate& c : candidates_) {
      c.weight = ExpNegative((c.logit - max) * scale);
      total += static_cast<double>(c.weight);
    }
    if (top_p) {
      const double enough = static_cast<double>(p.top_p) * total;
      double sum = 0.0;
      size_t keep = 0;
      while (keep < candidates_.size() && (keep == 0 || sum < enough)) {
        sum += static_cast<double>(candidates_[keep++].weight);
      }
      candidates_.resize(keep);
    }
  } else if (top_p) {
    KeepTopP(logits, max, scale, static_cast<double>(p.top_p));
  } else {
    KeepMinP(logits, max, scale, p.min_p);
  }
  // The best candidate weighs exactly 1, so min-p is a bound on the weight.
  if (p.min_p > 0.0F) std::erase_if(candidates_, [&](auto& c) { return c.weight < p.min_p; });

  double total = 0.0;
  for (const Candidate& c : candidates_) total += static_cast<double>(c.weight);
  const double target = u * total;
  double sum = 0.0;
  int32_t token = candidates_.front().id;
  for (const Candidate& c : candidates_) {
    if (c.weight == 0.0F) continue;
    token = c.id;
    sum += static_cast<double>(c.weight);
    if (sum > target) break;
  }
  return token;
}

int32_t Sampler::DrawUnfiltered(std::span<const float> logits, float max, float scale, double u) {
  const double target = u * ExpShifted(logits, max, scale, weights_);
  double sum = 0.0;
  size_t last = 0;
  for (size_t begin = 0; begin < vocab_; begin += kSumChunk) {
    const std::span<const float> chunk =
        std::span<const float>(weights_).subspan(begin, std::min(kSumChunk, vocab_ - begin));
    const double after = sum + Sum(chunk);
    if (after > target || begin + kSumChunk >= vocab_) {
      // One by one the sum may round differently: the last token with a weight closes the gap.
      for (size_t i = 0; i < chunk.size(); ++i) {
        if (chunk[i] == 0.0F) continue;
        last = begin + i;
        sum += static_cast<double>(chunk[i]);
        if (sum > target) break;
      }
      return static_cast<int32_t>(last);
    }
    // Only the index of a token with a weight may be the answer of an empty last chunk.
    if (after > sum) {
      size_t i = chunk.size() - 1;
      while (chunk[i] == 0.0F) --i;
      last = begin + i;
    }
    sum = after;
  }
  return static_cast<int32_t>(last);
}

void Sampler::KeepTopK(std::span<const float> logits, size_t k) {
  candidates_.clear();
  BlockMax(logits, block_max_);
  float bound = kNegInf;
  if (k < block_max_.size()) {
    // The k-th best block maximum: at least k logits are not below it.
    ranked_.assign(block_max_.begin(), block_max_.end());
    const auto kth = ranked_.begin() + static_cast<ptrdiff_t>(k - 1);
    std::nth_element(ranked_.begin(), kth, ranked_.end(), std::greater<>());
    bound = *kth;
  }
  for (size_t b = 0; b < block_max_.size(); ++b) {
    if (!(block_max_[b] >= bound)) continue;
    const size_t end = std::min((b + 1) * kMaxBlock, vocab_);
    for (size_t i = b * kMaxBlock; i < end; ++i) {
      if (logits[i] >= bound && logits[i] > kNegInf) {
        candidates_.push_back({logits[i], static_cast<int32_t>(i), 0.0F});
      }
    }
  }
  k = std::min(k, candidates_.size());
  const auto last = candidates_.begin() + static_cast<ptrdiff_t>(k);
  if (last != candidates_.end()) {
    std::nth_element(candidates_.begin(), last, candidates_.end(), kBetter);
    candidates_.resize(k);
  }
  std::sort(candidates_.begin(), candidates_.end(), kBetter);
}

void Sampler::KeepTopP(std::span<const float> logits, float max, float scale, double p) {
  candidates_.clear();
  const double total = ExpShifted(logits, max, scale, weights_);
  // All tokens lighter than this weigh less than (1 - p) * total together, so none is needed.
  const auto light = static_cast<float>((1.0 - p) * total / static_cast<double>(vocab_) * 0.999);
  BlockMax(weights_, block_max_);
  for (size_t b = 0; b < block_max_.size(); ++b) {
    if (!(block_max_[b] >= light)) continue;
    const size_t end = std::min((b + 1) * kMaxBlock, vocab_);
    for (size_t i = b * kMaxBlock; i < end; ++i) {
      if (weights_[i] >= light && weights_[i] > 0.0F) {
        candidates_.push_back({logits[i], static_cast<int32_t>(i), weights_[i]});
      }
    }
  }
  // Halves the range that holds the last token needed; what lies before it is needed whole.
  const double enough = p * total;
  ranked_candidates_.assign(candidates_.begin(), candidates_.end());
  auto low = ranked_candidates_.begin();
  auto high = ranked_candidates_.end();
  double sum = 0.0;
  constexpr ptrdiff_t kSmall = 64;
  while (high - low > kSmall) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, kBetter);
    double better = 0.0;
    for (auto it = low; it != middle; ++it) better += static_cast<double>(it->weight);
    if (sum + better >= enough) {
      high = middle;
    } else {
      sum += better;
      low = middle;
    }
  }
  std::sort(low, high, kBetter);
  auto last = low;
  for (auto it = low; it != high && (it == low || sum < enough); ++it) {
    sum += static_cast<double>(it->weight);
    last = it;
  }
  const Candidate cutoff = *last;
  std::erase_if(candidates_, [&](const Candidate& c) { return kBetter(cutoff, c); });
}

void Sampler::KeepMinP(std::span<const float> logits, float max, float scale, float min_p) {
  candidates_.clear();
  ExpShifted(logits, max, scale, weights_);
  BlockMax(weights_, block_max_);
  for (size_t b = 0; b < block_max_.size(); ++b) {
    if (!(block_max_[b] >= min_p)) continue;
    const size_t end = std::min((b + 1) * kMaxBlock, vocab_);
    for (size_t i = b * kMaxBlock; i < end; ++i) {
      if (weights_[i] >= min_p) {
        candidates_.push_back({logits[i], static_cast<int32_t>(i), weights_[i]});
      }
    }
  }
}

TokenLogprob Sampler::Score(std::span<const float> logits, int32_t token, uint32_t top) {
  const MaxResult max = Max(logits);
  const double log_total =
      static_cast<double>(max.value) + std::log(SumExpShifted(logits, max.value));
  auto logprob = [log_total](float logit) {
    const double value = static_cast<double>(logit) - log_total;
    return value > kLowestLogprob ? std::min(static_cast<float>(value), 0.0F) : kLowestLogprob;
  };
  TokenLogprob out;
  out.token = token;
  out.logprob = logprob(logits[static_cast<size_t>(token)]);
  if (top > 0) {
    KeepTopK(logits, std::min<size_t>(top, vocab_));
    for (const Candidate& c : candidates_) {
      out.top_ids.push_back(c.id);
      out.top_logprobs.push_back(logprob(c.logit));
    }
  }
  return out;
}

}  // namespace weft::sampling
