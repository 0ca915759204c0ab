// Cuts a step's batch into parts that stages of a pipeline work on at the same time.
#pragma once

#include <vector>

#include "libs/model/step_batch.h"

namespace weft {

// The same rows in the same order, in at most `parts` batches of at least `least_rows` rows each
// (one, when there are fewer). A sequence may continue in the next part, which sees what the parts
// before have written to the cache. Block tables are those of `batch`.
std::vector<StepBatch> CutBatch(const StepBatch& batch, int32_t parts, int32_t least_rows);

}  // namespace weft
