// How far one model's distributions are from another's of the same tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace weft::test {

// Kullback-Leibler divergences in nats, and both models' losses (-log p) on the text itself.
struct Divergence {
  double kl_sum = 0;
  double kl_largest = 0;
  double ref_loss = 0;
  double fast_loss = 0;
  int64_t rows = 0;
  int64_t predicted = 0;

  // Logits of both models [vocab] in one position, and the token that follows there, or -1.
  void Add(const float* ref, const float* fast, size_t vocab, int32_t next) {
    const double ref_total = LogTotal(ref, vocab);
    const double fast_total = LogTotal(fast, vocab);
    double kl = 0;
    for (size_t i = 0; i < vocab; ++i) {
      const double log_p = ref[i] - ref_total;
      kl += std::exp(log_p) * (log_p - (fast[i] - fast_total));
    }
    kl_sum += kl;
    kl_largest = std::max(kl_largest, kl);
    ++rows;
    if (next < 0) return;
    ref_loss -= ref[next] - ref_total;
    fast_loss -= fast[next] - fast_total;
    ++predicted;
  }

 private:
  static double LogTotal(const float* row, size_t vocab) {
    const double top = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(row[i] - top);
    return top + std::log(sum);
  }
};

}  // namespace weft::test
