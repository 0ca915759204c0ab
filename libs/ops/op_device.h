// What an op table needs whose ops work on an accelerator's memory, apart from the ops: constants,
// memory, and the beginning and end of a step. gpu_context.h implements it.
//
// Ops of such a table put work on a stream and return; nothing waits between BeginStep and EndStep
// but Read. Activations and pages are memory of step_memory(); constants and a step's inputs are
// given to ops by the host's address, and the device knows their copies. All memory is planned
// before it is taken: weights when a model is loaded, the rest when its pages are allocated.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "libs/device/device_arena.h"
#include "libs/ops/op_table.h"

namespace weft {

// What a model computes on the device: checked before anything is loaded.
struct OpDeviceShape {
  KvShape kv;  // block_tokens is not known yet
  int32_t heads = 0;
  int32_t hidden = 0;
  int32_t experts = 0;  // 0: none
  int32_t expert_groups = 1;
};

// The largest step.
struct StepLimits {
  int32_t rows = 512;
  int32_t sequences = 64;
  int32_t context_tokens = 0;  // of one sequence
  int32_t block_tokens = 0;
  int32_t logit_rows = 64;  // whose logits leave the device at once
  int32_t vocab = 0;
  int32_t angles = 0;  // floats of a row of cos_sin and cos_sin_sliding together
};

// Arrays of one step that ops are given by the host's address, whole or any part of them.
struct StepInputs {
  std::span<const int32_t> tokens, positions, slots, wanted_rows;
  std::span<const float> cos_sin, cos_sin_sliding;
  std::span<const AttentionSequence> sequences;
};

// Of one model. One thread at a time. Errors of work on the device may come at any later call.
class OpDevice {
 public:
  virtual ~OpDevice() = default;

  virtual const OpTable& table() const = 0;
  virtual Device& device() = 0;

  // kUnimplemented when the table has no kernel for it.
  virtual absl::Status SetShape(const OpDeviceShape& shape) = 0;

  // Weights are gone through twice, in the same order: from now on prepare() and Keep() only count,
  virtual void PlanWeights() = 0;
  // from now on they copy. Fails when they do not fit beside `reserve` free bytes.
  virtual absl::Status TakeWeights(uint64_t reserve) = 0;
  virtual absl::Status FinishWeights() = 0;
  // A constant vector, which must stay where it is on the host.
  virtual absl::Status Keep(std::span<const float> values, std::string_view name) = 0;
  // A table whose rows embed() looks up.
  virtual absl::StatusOr<Weight> KeepTable(const Weight& raw, std::string_view name) = 0;
  virtual uint64_t weight_bytes() const = 0;

  // Begins a plan of step_memory() with what the device itself needs; what was there is lost.
  virtual absl::Status PlanSteps(const StepLimits& limits) = 0;
  virtual DeviceArena& step_memory() = 0;
  virtual absl::Status TakeSteps(uint64_t reserve) = 0;
  // Of PermuteArgs::tiles.
  virtual uint64_t ExpertTileBytes(int64_t slots, int32_t experts) const = 0;

  // Before the first op of a step, which is within the limits.
  virtual absl::Status BeginStep(const StepInputs& inputs) = 0;
  // Waits for what was put on the stream and copies at most the limits' logit rows to the host.
  // The step's first error.
  virtual absl::Status Read(const float* from, std::span<float> to) = 0;
  // Waits too; nothing is copied.
  virtual absl::Status EndStep() = 0;
};

}  // namespace weft
