// Choosing tokens on the GPU from a batch of logits: bias, penalties, bans and masks, temperature,
// top-k, top-p, min-p, a draw, log probabilities; what libs/sampling does on the host. Only the
// answers leave the device.
//
//   l     = logits + bias, repeated tokens divided or multiplied, output tokens lowered, banned and
//           masked ones -inf
//   w[i]  = exp((l[i] - max l) / temperature), as an integer: round(2^44 w)
//   kept  = the top_k largest l (ties to the lower id); of those the fewest best ones whose weights
//           reach top_p of all theirs; of those w >= min_p
//   token = the first in order (best first with top_k, else by id) whose running sum of weights
//           exceeds u * (sum over kept), u of Philox4x32-10 (sampling/philox.h)
//
// Sums are of integers, so that no order of threads leaves a trace in them: a row's token depends
// on the row alone. exp is sampling/vector_math.h's, operation by operation. Against the host's
// sampler, which adds floats, a token differs where u falls within 1e-6 of a boundary.
//
// A block per row. Bounds ("the k best", "the weight that reaches p", "the drawn one") are found by
// one routine: histograms of 256 digits of the order's key, most significant first, each with
// counts and weights, until the digit's bucket holds one element. Each pass reads the row: bytes =
// rows * vocab * 4 * (2 + passes), from L2 after the first; passes are 1 to 5 for each bound.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

constexpr int32_t kMaxSampledTop = 20;

// What happens to one token's logit. Tokens of a row are distinct.
struct LogitEdit {
  int32_t token = 0;
  float bias = 0;
  int32_t count = 0;     // in the output so far
  int32_t repeated = 0;  // 1: in the prompt or the output
  int32_t banned = 0;    // 1: must not be chosen (yet)
  float original = 0;    // room for the kernel
};

struct SampleRow {
  uint64_t seed = 0;
  uint32_t choice = 0;
  uint32_t output_index = 0;
  float temperature = 1;  // 0: the most likely token
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  int32_t top_k = 0;  // 0: all
  int32_t edits = 0;  // of this row
  int32_t first_edit = 0;
  int32_t mask = -1;     // of `masks`; -1: none
  int32_t logprobs = 0;  // 1: of the token and of the `top` most likely
  int32_t top = 0;       // at most kMaxSampledTop
  int32_t given = -1;    // the token is this one; its log probability is what is asked for
};

struct SampleParams {
  float* logits = nullptr;        // [rows, vocab]; as before when the kernel is done
  const SampleRow* of = nullptr;  // [rows]
  LogitEdit* edits = nullptr;
  const uint32_t* masks = nullptr;  // [masks][(vocab + 31) / 32]: bit set = allowed
  int32_t* tokens = nullptr;        // [rows]; -1: nothing could be chosen
  // Of the raw logits, of rows that ask for them.
  float* logprobs = nullptr;      // [rows]
  int32_t* top_tokens = nullptr;  // [rows, kMaxSampledTop], best first; -1 after the last
  float* top_logprobs = nullptr;  // likewise
  int32_t rows = 0;
  int32_t vocab = 0;
};
LaunchResult Sample(const SampleParams& params, void* stream);

}  // namespace weft::gpu
