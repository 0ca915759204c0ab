// The choice of experts from their probabilities, which the host's op tables share: comparisons and
// sums in one order, so that it has the same bits everywhere.
#pragma once

#include "libs/ops/op_table.h"

namespace weft {

// Fills row `row` of args.chosen and args.weights; args.logits holds probabilities.
void ChooseExperts(const RouteArgs& args, int64_t row);

// The op permute: a counting sort.
void PermuteSlots(const PermuteArgs& args, OpContext& context);

}  // namespace weft
