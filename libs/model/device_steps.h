// Steps of a model on a device, several on their way at once: the host plans the next one while one
// runs, without knowing which tokens it chooses.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>

#include "libs/model/step_batch.h"
#include "libs/ops/op_device.h"
#include "libs/ops/sample_gpu.h"

namespace weft {

// How tokens of a step are chosen; see StepInputs (ops/op_device.h) for the parts.
struct StepChoices {
  std::span<const gpu::SampleRow> rows;   // of every row that wants logits, in their order
  std::span<const gpu::LogitEdit> edits;  // at most most_edits() of a row
  std::span<const int32_t> fed;           // of every row of the batch
  std::span<const int32_t> counted;       // as `rows`
};

// Of a ModelRunner, used by the thread that would call Forward. Steps are done in the order in
// which they are launched, so what one writes the next one may read.
class DeviceSteps {
 public:
  virtual ~DeviceSteps() = default;

  // Puts the step on the device and returns; at most kStepsAhead steps are on their way. A batch
  // that breaks the rules of ModelRunner::Forward is kInvalidArgument, and nothing was launched;
  // any other error ends the model (ModelRunner::health). A row whose token is fed has any token
  // of the vocabulary in the batch.
  virtual absl::Status Launch(const StepBatch& batch, const StepChoices& choices) = 0;

  // Waits for the oldest. The answers are good until the next Launch after the next Collect. An
  // error ends the model.
  virtual absl::StatusOr<StepAnswers> Collect() = 0;

  virtual int in_flight() const = 0;

  // Edits of one row that memory is planned for: distinct tokens of a whole context, biases, bans.
  virtual size_t most_edits() const = 0;
};

}  // namespace weft
