// Chooses a token from logits.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libs/sampling/params.h"

namespace weft::sampling {

// Everything the choice depends on. Two equal inputs give the same token on every machine.
struct SampleInput {
  std::span<const float> logits;  // [vocab], raw
  const SamplingParams* params = nullptr;
  std::span<const int32_t> prompt = {};  // ids below vocab
  std::span<const int32_t> output =
      {};  // so far; its size is the output index of the token to choose
  uint32_t choice = 0;
  std::span<const int32_t> eos_ids = {};
  // Bit i % 32 of word i / 32 set = token i is allowed (a grammar's mask). Empty = all are.
  std::span<const uint32_t> mask = {};
};

struct Sample {
  int32_t token = 0;
  std::optional<TokenLogprob> logprob;  // when params->logprobs
};

// Order: bias, penalties, mask, temperature, top-k, top-p, min-p; ties to the lowest id. Holds
// scratch memory: one per thread.
class Sampler {
 public:
  explicit Sampler(int32_t vocab_size);

  // INTERNAL when the logits leave no token to choose (all masked, or not finite).
  absl::StatusOr<Sample> Choose(const SampleInput& in);

  // Raw log probability of `token`, and of the `top` most likely ones.
  TokenLogprob Score(std::span<const float> logits, int32_t token, uint32_t top);

 private:
  struct Candidate {
    float logit;
    int32_t id;
    float weight;  // exp((logit - max) / temperature)
  };

  bool ChangesLogits(const SampleInput& in) const;
  // bias, penalties and mask, into work_
  void ChangeLogits(const SampleInput& in);
  int32_t Draw(std::span<const float> logits, float max, const SampleInput& in);
  int32_t DrawUnfiltered(std::span<const float> logits, float max, float scale, double u);
  // These fill candidates_: KeepTopK best first, the others by id.
  void KeepTopK(std::span<const float> logits, size_t k);
  void KeepTopP(std::span<const float> logits, float max, float scale, double p);
  void KeepMinP(std::span<const float> logits, float max, float scale, float min_p);

  const size_t vocab_;
  std::vector<float> work_;       // [vocab] changed logits
  std::vector<float> weights_;    // [vocab]
  std::vector<float> block_max_;  // [vocab / kMaxBlock, rounded up]
  std::vector<float> ranked_;     // scratch of KeepTopK
  std::vector<uint32_t> counts_;  // [vocab] zero between calls
  std::vector<Candidate> candidates_;
  std::vector<Candidate> ranked_candidates_;  // scratch of KeepTopP
};

}  // namespace weft::sampling
