// Microseconds to choose one token from a vocabulary of 49,152, by kind of request.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "libs/sampling/sampler.h"

int main() {
  using weft::sampling::SamplingParams;
  constexpr size_t kVocab = 49152;
  constexpr int kRounds = 300;
  // Shaped like a language model's: a long normal tail and some tokens that stand out.
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 2.5F);
  std::vector<float> logits(kVocab);
  for (float& x : logits) x = normal(random);
  for (size_t i = 0; i < 40; ++i) logits[random() % kVocab] = 12.0F + normal(random);

  std::vector<int32_t> prompt(1000, 7);
  const std::vector<std::pair<std::string, SamplingParams>> cases = {
      {"greedy", {.temperature = 0.0F}},
      {"temperature", {.temperature = 0.8F}},
      {"top_k 50", {.temperature = 0.8F, .top_k = 50}},
      {"top_p 0.95", {.temperature = 0.8F, .top_p = 0.95F}},
      {"top_p 0.95 at temperature 1.5", {.temperature = 1.5F, .top_p = 0.95F}},
      {"top_p + top_k + min_p", {.temperature = 0.8F, .top_p = 0.95F, .top_k = 50, .min_p = 0.05F}},
      {"repetition penalty, greedy", {.temperature = 0.0F, .repetition_penalty = 1.1F}},
      {"greedy, 20 logprobs", {.temperature = 0.0F, .logprobs = true, .top_logprobs = 20}},
  };
  weft::sampling::Sampler sampler(kVocab);
  for (auto [name, params] : cases) {
    std::vector<double> micros;
    for (int i = 0; i < kRounds; ++i) {
      params.seed = static_cast<uint64_t>(i);
      const auto begin = std::chrono::steady_clock::now();
      auto sample = sampler.Choose({.logits = logits, .params = &params, .prompt = prompt});
      const auto end = std::chrono::steady_clock::now();
      if (!sample.ok()) return 1;
      micros.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
    }
    std::sort(micros.begin(), micros.end());
    fmt::print("{:32} p50 {:8.1f} us   p99 {:8.1f} us\n", name, micros[kRounds / 2],
               micros[kRounds * 99 / 100]);
  }
  return 0;
}
