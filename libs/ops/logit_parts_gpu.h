// The softmax of logits whose vocabulary is divided among ranks, without gathering the logits:
// every rank's part of each row's sum, and the merge of all ranks' parts.
//
//   part of rank s:  m_s = max l,   z_s = sum of e^(l - m_s) over its tokens
//   merged:          M = max m_s,   log_total = M + log(sum over s, ascending, of z_s e^(m_s - M))
//   log p(token)     = l(token) - log_total; its owner's part brings l(token)
//   best             = the token with the largest logit, of equal ones the lowest: greedy's choice
//
// A part is 16 bytes of a row, in place of 4 for each token of the vocabulary. Draws with a
// temperature need the row itself (sample_gpu.h), or a rank's weights e^(l - log_total) of it.
//
// LogitParts: a block per row, one pass. Threads take elements a block's width apart, each with an
// online sum (Milakov and Gimelshein, https://arxiv.org/abs/1805.02867); lanes are joined by
// halving, warps ascending: the order depends on the width alone. -inf and NaN count as nothing.
// Bytes: rows * (width * 4 + 16). MergeLogitParts: rows * (ranks * 16 + 12).
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"

namespace weft::gpu {

struct alignas(16) LogitPart {
  float max = 0;     // -inf where there is nothing
  float sum = 0;     // of e^(logit - max)
  int32_t best = 0;  // token; -1 where there is nothing
  float picked = 0;  // logit of the row's token; -inf where another rank has it
};

struct LogitPartsParams {
  const float* logits = nullptr;    // [rows, width]
  const int32_t* tokens = nullptr;  // [rows]: whose logits are picked; or null
  LogitPart* parts = nullptr;       // [rows]
  int32_t rows = 0;
  int32_t width = 0;        // tokens of this rank
  int32_t first_token = 0;  // its first
};
LaunchResult LogitParts(const LogitPartsParams& params, void* stream);

struct MergeLogitPartsParams {
  const LogitPart* parts = nullptr;  // [ranks, rows], ranks by their first token
  float* log_totals = nullptr;       // [rows]; -inf of a row without a logit
  int32_t* best = nullptr;           // [rows] or null
  float* logprobs = nullptr;         // [rows], of the picked tokens; or null
  int32_t rows = 0;
  int32_t ranks = 0;
};
LaunchResult MergeLogitParts(const MergeLogitPartsParams& params, void* stream);

}  // namespace weft::gpu
