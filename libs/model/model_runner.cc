#include "libs/model/model_runner.h"

#include "libs/base/status.h"

namespace weft {

absl::StatusOr<int32_t> ModelRunner::FittingBlocks(double, int32_t) {
  return FailedPrecondition("kv_memory_fraction: the model is not on a device");
}

}  // namespace weft
