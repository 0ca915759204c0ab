// A step as bytes, which rank 0 of a model gives to ranks in other processes. Ranks run on machines
// of one kind: little-endian.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <span>
#include <vector>

#include "libs/model/step_batch.h"

namespace weft {

// A batch with the block tables that it refers to.
struct OwnedStep {
  StepBatch batch;
  std::vector<int32_t> tables;
};

// `out` is replaced.
void EncodeStep(const StepBatch& batch, std::vector<std::byte>& out);

// kInvalidArgument, with the offset, for bytes that EncodeStep does not make. What the batch says
// is not checked: Model::Check does.
absl::Status DecodeStep(std::span<const std::byte> bytes, OwnedStep& out);

}  // namespace weft
