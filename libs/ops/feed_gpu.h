// What a step takes from the one before it without the host: the tokens that it chose. The host
// plans a step while the one before runs, and so knows that a sequence gets a token, not which.
//
//   tokens[r] = chosen[fed[r]] where fed[r] >= 0; a row without a choice (-1) goes on with token 0
//
// and in the edits of a choice (sample_gpu.h) that token counts as one more of the output: in the
// edit of its own where it has one, else in the last edit, which is kept for it. An edit that stays
// unused is not counted in SampleRow::edits afterwards.
//
// Bytes: 12 a row, and the edits of the rows that have some.
#pragma once

#include <cstdint>

#include "libs/ops/gpu_launch.h"
#include "libs/ops/sample_gpu.h"

namespace weft::gpu {

struct FeedParams {
  int32_t* tokens = nullptr;        // [rows]
  const int32_t* fed = nullptr;     // [rows]
  const int32_t* chosen = nullptr;  // of the step before
  SampleRow* of = nullptr;          // [choices]
  LogitEdit* edits = nullptr;
  const int32_t* counted = nullptr;  // [choices]: as `fed`, of what the edits do not hold yet
  int32_t rows = 0;
  int32_t choices = 0;
};
LaunchResult Feed(const FeedParams& params, void* stream);

}  // namespace weft::gpu
