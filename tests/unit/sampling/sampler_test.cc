#include "libs/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "libs/sampling/philox.h"
#include "tests/support/catch.h"

namespace weft::sampling {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> RandomLogits(size_t n, unsigned seed, float spread = 3.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

Sample MustChoose(Sampler& sampler, const SampleInput& in) {
  auto sample = sampler.Choose(in);
  REQUIRE(sample.ok());
  return *std::move(sample);
}

int32_t Token(const std::vector<float>& logits, const SamplingParams& params,
              const std::vector<int32_t>& prompt = {}, const std::vector<int32_t>& output = {},
              std::span<const uint32_t> mask = {}) {
  static const std::vector<int32_t> eos = {0};
  Sampler sampler(static_cast<int32_t>(logits.size()));
  return MustChoose(sampler, {.logits = logits,
                              .params = &params,
                              .prompt = prompt,
                              .output = output,
                              .eos_ids = eos,
                              .mask = mask})
      .token;
}

// The distribution by the definition: sorts everything, in double.
std::map<int32_t, double> NaiveDistribution(const std::vector<float>& logits,
                                            const SamplingParams& p) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  auto at = [&](int32_t i) { return static_cast<double>(logits[static_cast<size_t>(i)]); };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return at(a) > at(b); });
  if (p.top_k > 0 && p.top_k < order.size()) order.resize(p.top_k);
  std::vector<double> weight;
  double total = 0.0;
  for (int32_t i : order) {
    weight.push_back(std::exp((at(i) - at(order[0])) / static_cast<double>(p.temperature)));
    total += weight.back();
  }
  size_t keep = 0;
  double sum = 0.0;
  while (keep < order.size() && (keep == 0 || sum < static_cast<double>(p.top_p) * total)) {
    sum += weight[keep++];
  }
  std::map<int32_t, double> out;
  double kept = 0.0;
  for (size_t i = 0; i < keep; ++i) {
    if (weight[i] >= static_cast<double>(p.min_p)) kept += out[order[i]] = weight[i];
  }
  for (auto& [id, w] : out) w /= kept;
  return out;
}

TEST_CASE("Sampler at temperature 0 takes the largest logit, ties to the lowest id", "[sampling]") {
  SamplingParams greedy{.temperature = 0.0F};
  CHECK(Token({0.0F, 3.0F, 1.0F, 3.0F}, greedy) == 1);
  CHECK(Token({-kInf, -5.0F}, greedy) == 1);
  CHECK(Token({NAN, -5.0F}, greedy) == 1);
  CHECK(Token({7.0F}, greedy) == 0);
}

TEST_CASE("Sampler draws with the frequencies of the definition", "[sampling]") {
  const std::vector<float> logits = RandomLogits(40, 1, 1.5F);
  const std::vector<SamplingParams> cases = {
      {.temperature = 1.0F},
      {.temperature = 0.6F, .top_k = 5},
      {.temperature = 1.3F, .top_p = 0.7F},
      {.temperature = 1.0F, .min_p = 0.2F},
      {.temperature = 1.5F, .top_p = 0.9F, .top_k = 12, .min_p = 0.1F},
      {.temperature = 2.0F, .top_k = 1000},
  };
  Sampler sampler(40);
  for (SamplingParams p : cases) {
    const auto expected = NaiveDistribution(logits, p);
    std::map<int32_t, int> counts;
    constexpr int kDraws = 40000;
    for (int i = 0; i < kDraws; ++i) {
      p.seed = static_cast<uint64_t>(i);
      ++counts[MustChoose(sampler, {.logits = logits, .params = &p}).token];
    }
    for (const auto& [id, count] : counts) REQUIRE(expected.contains(id));
    for (const auto& [id, share] : expected) {
      const double deviation = std::sqrt(share * (1.0 - share) / kDraws);
      const double got = static_cast<double>(counts[id]) / kDraws;
      INFO("id " << id << " share " << share << " got " << got);
      CHECK(std::abs(got - share) <= 4.5 * deviation + 1e-9);
    }
  }
}

TEST_CASE("Sampler keeps exactly the tokens of the definition in a large vocabulary",
          "[sampling]") {
  constexpr size_t kVocab = 49152;
  Sampler sampler(kVocab);
  std::mt19937 random(5);
  for (unsigned seed = 0; seed < 12; ++seed) {
    const std::vector<float> logits = RandomLogits(kVocab, seed, seed % 2 == 0 ? 3.0F : 0.5F);
    SamplingParams p{.temperature = 0.5F + 0.25F * static_cast<float>(seed % 6)};
    if (seed % 3 != 0) p.top_p = 0.5F + 0.1F * static_cast<float>(seed % 5);
    if (seed % 3 != 1) p.top_k = 1 + static_cast<uint32_t>(random() % 1500);
    if (seed % 4 == 3) p.min_p = 0.01F;
    const auto expected = NaiveDistribution(logits, p);
    for (uint64_t draw = 0; draw < 60; ++draw) {
      p.seed = draw;
      const int32_t token = MustChoose(sampler, {.logits = logits, .params = &p}).token;
      REQUIRE(expected.contains(token));
    }
  }
}

TEST_CASE("Sampler finds the inverse of the cumulative sum for the drawn number", "[sampling]") {
  // Four tokens of equal weight: the drawn quarter is the token, with and without filters.
  const std::vector<float> logits(4, 1.0F);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const double u = UniformDraw(seed, 3, 2, 0);
    const auto expected = static_cast<int32_t>(u * 4.0);
    const std::vector<int32_t> output = {1, 2};
    for (uint32_t top_k : {0U, 4U, 3U}) {
      SamplingParams p{.temperature = 0.8F, .top_k = top_k, .seed = seed};
      if (top_k == 3) p.top_p = 0.999F;
      Sampler sampler(4);
      const int32_t token =
          MustChoose(sampler, {.logits = logits, .params = &p, .output = output, .choice = 3})
              .token;
      CHECK(token == (top_k == 3 ? static_cast<int32_t>(u * 3.0) : expected));
    }
  }
}

TEST_CASE("Sampler breaks top-k ties by the lowest id", "[sampling]") {
  std::vector<float> logits(1000, 0.0F);
  for (size_t i : {900, 17, 400, 401}) logits[i] = 1.0F;
  SamplingParams p{.temperature = 1.0F, .top_k = 2};
  std::map<int32_t, int> seen;
  for (p.seed = 0; p.seed < 200; ++p.seed) ++seen[Token(logits, p)];
  CHECK(seen.size() == 2);
  CHECK(seen.contains(17));
  CHECK(seen.contains(400));
}

TEST_CASE("Sampler with the smallest temperature is greedy", "[sampling]") {
  const std::vector<float> logits = RandomLogits(100, 4);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  for (float t : {1e-45F, 1e-30F, 1e-6F}) {
    SamplingParams p{.temperature = t};
    for (p.seed = 0; p.seed < 10; ++p.seed) CHECK(Token(logits, p) == best);
    p.top_p = 0.9F;
    CHECK(Token(logits, p) == best);
  }
}

TEST_CASE("Sampler applies bias, then penalties, in the documented order", "[sampling]") {
  SamplingParams p{.temperature = 0.0F};
  p.logit_bias = {{2, 5.0F}};
  CHECK(Token({1.0F, 2.0F, -1.0F}, p) == 2);

  // Repetition divides a positive logit and multiplies a negative one, once per token.
  p = {.temperature = 0.0F, .repetition_penalty = 2.0F};
  CHECK(Token({4.0F, 3.0F}, p, {0, 0, 0}) == 1);   // 4 / 2 < 3
  CHECK(Token({4.0F, 1.9F}, p, {0, 0, 0}) == 0);   // not 4 / 8
  CHECK(Token({-1.0F, -1.5F}, p, {}, {0}) == 1);   // -2 < -1.5
  CHECK(Token({-1.0F, -2.5F}, p, {0}, {0}) == 0);  // once over both

  // Presence counts once, frequency each time, both over the output only.
  p = {.temperature = 0.0F, .presence_penalty = 1.0F};
  CHECK(Token({2.0F, 1.5F}, p, {0, 0}) == 0);
  CHECK(Token({2.0F, 1.5F}, p, {}, {0}) == 1);
  CHECK(Token({2.0F, 0.9F}, p, {}, {0, 0, 0}) == 0);
  p = {.temperature = 0.0F, .frequency_penalty = 0.5F};
  CHECK(Token({2.0F, 0.9F}, p, {0, 0, 0}, {0, 0}) == 0);
  CHECK(Token({2.0F, 0.9F}, p, {}, {0, 0, 0}) == 1);

  // Bias first: the penalty acts on the biased logit.
  p = {.temperature = 0.0F, .repetition_penalty = 2.0F};
  p.logit_bias = {{0, 3.0F}};
  CHECK(Token({1.0F, 2.1F}, p, {0}) == 1);  // (1 + 3) / 2 = 2, not 1 / 2 + 3
  // Negative penalties encourage.
  p = {.temperature = 0.0F, .frequency_penalty = -1.0F};
  CHECK(Token({1.0F, 2.5F}, p, {}, {0, 0}) == 0);
}

TEST_CASE("Sampler chooses only what the mask allows, whatever the bias", "[sampling]") {
  std::vector<float> logits(70, 0.0F);
  SamplingParams p{.temperature = 1.0F};
  p.logit_bias = {{3, 100.0F}};
  const std::vector<uint32_t> mask = {0, 1U << 1, 1U << 2};  // 33 and 66
  std::map<int32_t, int> seen;
  for (p.seed = 0; p.seed < 100; ++p.seed) ++seen[Token(logits, p, {}, {}, mask)];
  CHECK(seen.size() == 2);
  CHECK(seen.contains(33));
  CHECK(seen.contains(66));
}

TEST_CASE("Sampler masks end-of-sequence and stop ids before min_tokens", "[sampling]") {
  SamplingParams p{.temperature = 0.0F, .min_tokens = 2};
  p.stop_token_ids = {1};
  const std::vector<float> logits = {9.0F, 8.0F, 7.0F};
  CHECK(Token(logits, p) == 2);
  CHECK(Token(logits, p, {}, {2}) == 2);
  CHECK(Token(logits, p, {}, {2, 2}) == 0);
  p.ignore_eos = true;
  CHECK(Token(logits, p) == 0);
}

TEST_CASE("Sampler reports an error when no token is left or a logit is infinite", "[sampling]") {
  Sampler sampler(3);
  SamplingParams p{.temperature = 1.0F};
  const std::vector<uint32_t> none = {0};
  const std::vector<float> fine = {1.0F, 2.0F, 3.0F};
  const std::vector<float> nan = {NAN, NAN, NAN};
  const std::vector<float> infinite = {1.0F, kInf, 0.0F};
  CHECK(sampler.Choose({.logits = fine, .params = &p, .mask = none}).status().code() ==
        absl::StatusCode::kInternal);
  CHECK_FALSE(sampler.Choose({.logits = nan, .params = &p}).ok());
  CHECK_FALSE(sampler.Choose({.logits = infinite, .params = &p}).ok());
  CHECK(sampler.Choose({.logits = fine, .params = &p}).ok());
}

TEST_CASE("Sampler leaves no trace of a call in the next", "[sampling]") {
  const std::vector<float> logits = RandomLogits(300, 8);
  SamplingParams plain{.temperature = 1.0F, .top_p = 0.9F};
  SamplingParams heavy{.temperature = 0.5F, .repetition_penalty = 1.5F, .frequency_penalty = 1.0F};
  heavy.logit_bias = {{5, 50.0F}};
  const std::vector<int32_t> prompt = {1, 2, 3, 5};
  const std::vector<int32_t> output = {5, 5, 9};
  Sampler used(300);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    heavy.seed = plain.seed = seed;
    Sampler fresh(300);
    const SampleInput a{.logits = logits, .params = &heavy, .prompt = prompt, .output = output};
    const SampleInput b{.logits = logits, .params = &plain};
    const int32_t first = MustChoose(used, a).token;
    CHECK(MustChoose(used, b).token == MustChoose(fresh, b).token);
    CHECK(MustChoose(used, a).token == first);
  }
}

TEST_CASE("Sampler reports raw log probabilities, best first, ties to the lowest id",
          "[sampling]") {
  std::vector<float> logits = RandomLogits(500, 2);
  logits[40] = logits[30] = 20.0F;
  double total = 0.0;
  for (float x : logits) total += std::exp(static_cast<double>(x) - 20.0);
  SamplingParams p{.temperature = 0.3F, .logprobs = true, .top_logprobs = 5, .seed = 1};
  p.repetition_penalty = 1.7F;
  p.logit_bias = {{77, 100.0F}};
  Sampler sampler(500);
  const std::vector<int32_t> prompt = {30, 40};
  const Sample sample = MustChoose(sampler, {.logits = logits, .params = &p, .prompt = prompt});
  CHECK(sample.token == 77);
  REQUIRE(sample.logprob.has_value());
  CHECK(sample.logprob->token == 77);
  auto raw = [&](size_t i) { return static_cast<double>(logits[i]) - 20.0 - std::log(total); };
  CHECK(static_cast<double>(sample.logprob->logprob) == Approx(raw(77)).margin(1e-5));
  REQUIRE(sample.logprob->top_ids.size() == 5);
  CHECK(sample.logprob->top_ids[0] == 30);
  CHECK(sample.logprob->top_ids[1] == 40);
  std::vector<int32_t> order(500);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  for (size_t i = 0; i < 5; ++i) {
    CHECK(sample.logprob->top_ids[i] == order[i]);
    CHECK(static_cast<double>(sample.logprob->top_logprobs[i]) ==
          Approx(raw(static_cast<size_t>(order[i]))).margin(1e-5));
  }
  p.logprobs = false;
  CHECK_FALSE(MustChoose(sampler, {.logits = logits, .params = &p}).logprob.has_value());
}

TEST_CASE("Sampler takes the tokens that it took when this test was written", "[sampling]") {
  // The same on every machine and compiler: logits from integers, no library function in them.
  constexpr size_t kVocab = 49152;
  std::vector<float> logits(kVocab);
  for (size_t i = 0; i < kVocab; ++i) {
    logits[i] = static_cast<float>((i * 2654435761U >> 8) % 16384) * (1.0F / 1024.0F) - 8.0F;
  }
  Sampler sampler(kVocab);
  std::vector<int32_t> tokens;
  for (const SamplingParams& p : std::vector<SamplingParams>{
           {.temperature = 1.0F, .seed = 1},
           {.temperature = 0.7F, .seed = 2},
           {.temperature = 1.0F, .top_p = 0.9F, .seed = 3},
           {.temperature = 1.2F, .top_k = 50, .seed = 4},
           {.temperature = 0.8F, .top_p = 0.95F, .top_k = 40, .min_p = 0.05F, .seed = 5}}) {
    tokens.push_back(MustChoose(sampler, {.logits = logits, .params = &p}).token);
  }
  CHECK(tokens == std::vector<int32_t>{43740, 20999, 40151, 25038, 15706});
}

}  // namespace
}  // namespace weft::sampling
