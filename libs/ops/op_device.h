// What an op table needs whose ops work on an accelerator's memory, apart from the ops: constants,
// memory, and the beginning and end of a step. gpu_context.h implements it.
//
// Ops of such a table put work on a stream and return; nothing waits between BeginStep and EndStep
// but Read. Activations and pages are memory of step_memory(); constants and a step's inputs are
// given to ops by the host's address, and the device knows their copies. All memory is planned
// before it is taken: weights when a model is loaded, the rest when its pages are allocated.
//
// A step ends in one of two ways. EndStep waits for it; logits come to the host by Read. Or tokens
// are chosen on the device: LaunchStep then returns at once, CollectStep waits for the oldest such
// step, and the next one can be put on the stream before that, with tokens of it as its inputs.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "libs/device/device_arena.h"
#include "libs/ops/op_table.h"
#include "libs/ops/sample_gpu.h"

namespace weft {

// What a model computes on the device: checked before anything is loaded.
struct OpDeviceShape {
  KvShape kv;  // block_tokens is not known yet
  int32_t heads = 0;
  int32_t hidden = 0;
  int32_t experts = 0;  // 0: none
  int32_t expert_groups = 1;
  int32_t latent = 0;         // above 0: pages hold latents of so many elements and rotating ones
  bool weights_bf16 = false;  // all matrices are converted, whatever a kernel could read
};

// What loading took, from the first byte to the last on the device.
struct LoadRate {
  uint64_t bytes = 0;
  double seconds = 0;
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
  uint64_t edits = 0;  // of the logits of one step
};

// Steps launched and not collected, at most.
inline constexpr int kStepsAhead = 2;

// Arrays of one step that ops are given by the host's address, whole or any part of them.
struct StepInputs {
  std::span<const int32_t> tokens, positions, slots, wanted_rows;
  std::span<const float> cos_sin, cos_sin_sliding;
  std::span<const AttentionSequence> sequences;

  // Of a step whose tokens are chosen on the device; empty otherwise.
  std::span<const gpu::SampleRow> choices;  // of every wanted row
  std::span<const gpu::LogitEdit> edits;
  // Of every row, which answer of the step launched before is its token; -1: none, `tokens` says.
  std::span<const int32_t> fed;
  // Of every choice, which such answer is not in its edits yet (its last edit is kept for it, see
  // feed_gpu.h); -1: none.
  std::span<const int32_t> counted;
  // Its shape is one of graph_shapes().
  bool padded = false;
};

// What became of a step's choices, in their order.
struct StepAnswers {
  std::span<const int32_t> tokens;  // -1: nothing could be chosen
  // Of choices that ask for them, see gpu::SampleParams.
  std::span<const float> logprobs;
  std::span<const int32_t> top_tokens;
  std::span<const float> top_logprobs;
  double device_ms = 0;  // from its first operation to its last
  double idle_ms = 0;    // since the last operation of the step before; 0 of a first one
};

// Steps of one row for each of `rows` sequences, none of which has more tokens.
struct GraphShape {
  int32_t rows = 0;
  int32_t context_tokens = 0;
  auto operator<=>(const GraphShape&) const = default;
};

// Of one model. One thread at a time. Errors of work on the device may come at any later call.
class OpDevice {
 public:
  virtual ~OpDevice() = default;

  virtual const OpTable& table() const = 0;
  virtual Device& device() = 0;
  // Of its products: part of the numerics class, after the table's name.
  virtual std::string_view numerics_name() const = 0;

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
  // A matrix, in bf16 whatever its type is.
  virtual absl::StatusOr<Weight> KeepBf16(const Weight& raw, std::string_view name) = 0;
  virtual uint64_t weight_bytes() const = 0;
  virtual LoadRate load_rate() const = 0;

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

  // ---- Steps that run ahead of the host. ----

  // Chooses the tokens of the wanted rows [first, first + rows), whose logits are given.
  virtual void Sample(float* logits, int64_t first, int64_t rows) = 0;
  // In place of EndStep: answers are on their way. Does not wait.
  virtual absl::Status LaunchStep() = 0;
  // Waits for the oldest launched step. The answers stay until kStepsAhead more are launched.
  virtual absl::StatusOr<StepAnswers> CollectStep() = 0;
  virtual int steps_in_flight() const = 0;

  // The shapes whose ops it wants recorded, which is done before the first step: BeginRecording,
  // the ops, EndRecording for each. Contents of the inputs do not matter then.
  virtual std::vector<GraphShape> graph_shapes() const = 0;
  virtual absl::Status BeginRecording(const StepInputs& inputs) = 0;
  virtual absl::Status EndRecording() = 0;
  // The rows to which a step of `rows` sequences with one row each is filled up to be of such a
  // shape; 0: it cannot be.
  virtual int32_t PaddedRows(int32_t rows) const = 0;
  // After BeginStep: the ops of this step are recorded, none is to be put on the stream.
  virtual bool replays() const = 0;
};

}  // namespace weft
