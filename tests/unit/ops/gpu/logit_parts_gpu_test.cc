#include "libs/ops/logit_parts_gpu.h"

#include <algorithm>
#include <utility>

#include "tests/unit/ops/gpu/rig.h"

namespace weft {
namespace {

using test::RandomFloats;

struct Answers {
  std::vector<float> log_totals, logprobs;
  std::vector<int32_t> best;
};

// Of logits [rows, vocab], `ranks` of which have nearly equal parts of the vocabulary.
Answers OnRanks(const std::vector<float>& logits, int32_t rows, int32_t vocab, int32_t ranks,
                const std::vector<int32_t>& tokens) {
  test::Rig rig;
  const auto gpu_tokens = rig.Put(tokens);
  std::vector<gpu::LogitPart> gathered;
  for (int32_t rank = 0; rank < ranks; ++rank) {
    const int32_t first = vocab * rank / ranks;
    const int32_t width = vocab * (rank + 1) / ranks - first;
    std::vector<float> own;
    for (int32_t r = 0; r < rows; ++r) {
      const auto from = logits.begin() + int64_t{r} * vocab + first;
      own.insert(own.end(), from, from + width);
    }
    const auto shard = rig.Put(own);
    const auto parts = rig.Room<gpu::LogitPart>(static_cast<size_t>(rows));
    rig.Run(gpu::LogitParts({.logits = shard.get(),
                             .tokens = gpu_tokens.get(),
                             .parts = parts.get(),
                             .rows = rows,
                             .width = width,
                             .first_token = first},
                            rig.stream()));
    if (width % 8 == 0) test::RequireCost(0.95);
    for (const gpu::LogitPart& part : rig.Get(parts)) gathered.push_back(part);
  }
  const auto all = rig.Put(gathered);
  const auto log_totals = rig.Room<float>(static_cast<size_t>(rows));
  const auto logprobs = rig.Room<float>(static_cast<size_t>(rows));
  const auto best = rig.Room<int32_t>(static_cast<size_t>(rows));
  rig.Run(gpu::MergeLogitParts({.parts = all.get(),
                                .log_totals = log_totals.get(),
                                .best = best.get(),
                                .logprobs = logprobs.get(),
                                .rows = rows,
                                .ranks = ranks},
                               rig.stream()));
  return {rig.Get(log_totals), rig.Get(logprobs), rig.Get(best)};
}

// In double.
double LogTotal(const float* row, int32_t vocab) {
  double largest = -INFINITY, sum = 0;
  for (int32_t i = 0; i < vocab; ++i) largest = std::max(largest, static_cast<double>(row[i]));
  for (int32_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
  return largest + std::log(sum);
}

TEST_CASE("Parts of a divided vocabulary merge to the softmax of the whole", "[gpu][logits]") {
  constexpr int32_t kRows = 3;
  for (const auto& [vocab, ranks] : {std::pair{5000, 1}, {4096, 2}, {5001, 3}, {4999, 4}, {7, 4}}) {
    INFO(vocab << " tokens on " << ranks << " ranks");
    const std::vector<float> logits = RandomFloats(static_cast<size_t>(kRows * vocab), 1, 8.0f);
    const std::vector<int32_t> tokens = {0, vocab - 1, vocab / 2};
    const Answers found = OnRanks(logits, kRows, vocab, ranks, tokens);
    for (int32_t r = 0; r < kRows; ++r) {
      const float* row = &logits[static_cast<size_t>(r * vocab)];
      const double expected = LogTotal(row, vocab);
      const auto at = static_cast<size_t>(r);
      CHECK(static_cast<double>(found.log_totals[at]) == Approx(expected).epsilon(1e-6));
      CHECK(static_cast<double>(found.logprobs[at]) ==
            Approx(static_cast<double>(row[tokens[at]]) - expected).margin(1e-5));
      CHECK(found.best[at] == std::max_element(row, row + vocab) - row);
    }
  }
}

TEST_CASE("Equal logits, infinite ones and none at all leave the merged parts well defined",
          "[gpu][logits]") {
  constexpr int32_t kVocab = 1200;
  std::vector<float> logits(4 * kVocab, -INFINITY);
  // Row 0 has none. Row 1 has one, the last. Row 2 has four equal ones, in three shards. Row 3 has
  // a NaN that counts as nothing.
  logits[2 * kVocab - 1] = 3.0f;
  for (const int32_t token : {900, 500, 399, 1100})
    logits[static_cast<size_t>(2 * kVocab + token)] = 1.5f;
  logits[3 * kVocab] = NAN;
  logits[3 * kVocab + 1] = -700.0f;
  const Answers found = OnRanks(logits, 4, kVocab, 3, {5, kVocab - 1, 399, 2});
  CHECK(found.best == std::vector<int32_t>{-1, kVocab - 1, 399, 1});
  CHECK(found.log_totals[0] == -INFINITY);
  CHECK(found.log_totals[1] == 3.0f);
  CHECK(found.log_totals[2] == Approx(1.5 + std::log(4.0)));
  CHECK(found.log_totals[3] == -700.0f);
  CHECK(found.logprobs[0] == -9999.0f);
  CHECK(found.logprobs[1] == 0.0f);
  CHECK(found.logprobs[2] == Approx(-std::log(4.0)));
  CHECK(found.logprobs[3] == -9999.0f);
}

}  // namespace
}  // namespace weft
