// One prompt, one answer, on the calling thread: what `weftctl run` needs.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "libs/engine/engine.h"

namespace weft::engine {

struct GenerateResult {
  std::vector<int32_t> tokens;
  FinishReason reason = FinishReason::kStop;
  uint32_t prompt_tokens = 0;
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
};

// Called for each new token; false cancels the rest (the result's reason is then kCancelled).
using TokenCallback = std::function<bool(int32_t token)>;

// Steps the engine until the item is done; the caller must be its owner thread and nothing else
// may be submitted meanwhile. `item.id` is ignored. Errors: those of Submit and of the item's end.
absl::StatusOr<GenerateResult> Generate(Engine& engine, WorkItem item,
                                        const TokenCallback& on_token);

}  // namespace weft::engine
