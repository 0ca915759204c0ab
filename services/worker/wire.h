// Between the engine's plain structs and the frames on the wire.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string_view>

#include "libs/engine/types.h"
#include "weft/v1/worker.pb.h"

namespace weft::worker {

// The item without its id. INVALID_ARGUMENT names the field: ids that are no int32, parallel arrays
// of different length. The engine checks ranges.
absl::StatusOr<engine::WorkItem> FromWire(const v1::WorkItem& item, SteadyTime now);

v1::FinishReason ToWire(engine::FinishReason reason);
// The message of an engine error begins with the field at fault, "sampling.top_p: …".
v1::RequestError ToWire(const absl::Status& error);
void ToWire(const engine::TokenLogprob& logprob, v1::TokenLogprob* out);
void ToWire(const engine::EngineStats& stats, v1::EngineStats* out);

// Adds one row, with its logprobs, for `handle`.
void AddRow(const engine::StepOutput& output, const engine::StepRow& row, uint32_t handle,
            v1::StepFrame* frame);
void AddPromptRow(const engine::StepOutput& output, const engine::PromptRow& row, uint32_t handle,
                  v1::StepFrame* frame);
void AddStart(const engine::StepStart& start, uint32_t handle, v1::StepFrame* frame);
void AddFinish(const engine::StepFinish& finish, uint32_t handle, v1::StepFrame* frame);

}  // namespace weft::worker
