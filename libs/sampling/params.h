// What a request asks of the sampler, and what the sampler reports about a token.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace weft::sampling {

inline constexpr int kMaxTopLogprobs = 20;
inline constexpr int kMaxStopTokenIds = 96;  // 64 of a request, and what a prompt format adds
inline constexpr int kMaxLogitBias = 1024;

// Mirrors weft.v1.SamplingParams; ids are signed here and the seed is always set. The order in
// which they act is bias, penalties, mask, temperature, top-k, top-p, min-p.
struct SamplingParams {
  float temperature = 1.0F;         // [0, 2]; 0 = the most likely token
  float top_p = 1.0F;               // (0, 1]; 1 = off
  uint32_t top_k = 0;               // 0 = off
  float min_p = 0.0F;               // [0, 1]; 0 = off
  float repetition_penalty = 1.0F;  // (0, 10]; 1 = off; over prompt and output
  float presence_penalty = 0.0F;    // [-2, 2]; over output
  float frequency_penalty = 0.0F;   // [-2, 2]; over output
  uint32_t max_tokens = 16;         // 0 = only the prompt is computed
  uint32_t min_tokens = 0;          // end-of-sequence and stop ids are masked before this many
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids = {};                // at most kMaxStopTokenIds
  std::vector<std::pair<int32_t, float>> logit_bias = {};  // [-100, 100]; at most kMaxLogitBias
  bool logprobs = false;         // report the chosen token's log probability
  uint32_t top_logprobs = 0;     // [0, kMaxTopLogprobs] alternatives besides
  bool prompt_logprobs = false;  // those of the prompt's tokens too; needs logprobs
  uint64_t seed = 0;

  // INVALID_ARGUMENT whose message begins with "sampling.<field>: ". Ids must be below vocab_size.
  absl::Status Validate(int32_t vocab_size) const;
};

// Raw log probabilities (natural log): before bias, penalties, mask and temperature.
struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0F;
  std::vector<int32_t> top_ids;     // descending by logprob, ties to the lowest id
  std::vector<float> top_logprobs;  // parallel with top_ids
};

}  // namespace weft::sampling
