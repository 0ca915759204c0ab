#include "libs/engine/generate.h"

#include <chrono>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace weft::engine {

absl::StatusOr<GenerateResult> Generate(Engine& engine, WorkItem item,
                                        const TokenCallback& on_token) {
  constexpr uint64_t kId = 1;
  item.id = kId;
  WEFT_RETURN_IF_ERROR(engine.Submit(std::move(item)));
  GenerateResult result;
  StepOutput output;
  while (true) {
    engine.WaitForWork(std::chrono::seconds(1));
    engine.Step(&output);
    if (!output.model_gone.ok()) return output.model_gone;
    for (const StepRow& row : output.rows) {
      for (int32_t token : output.Tokens(row)) {
        result.tokens.push_back(token);
        if (on_token && !on_token(token)) engine.Cancel(kId);
      }
    }
    for (const StepFinish& finish : output.finishes) {
      if (finish.id != kId) continue;
      if (!finish.error.ok()) return finish.error;
      result.reason = finish.reason;
      result.prompt_tokens = finish.prompt_tokens;
      result.prefill_seconds = Seconds(finish.prefill_time);
      result.decode_seconds = Seconds(finish.decode_time);
      return result;
    }
  }
}

}  // namespace weft::engine
