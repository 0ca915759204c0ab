#include "libs/engine/types.h"

namespace weft::engine {

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return "unknown";
}

bool StepOutput::idle() const {
  return rows.empty() && starts.empty() && finishes.empty() && kv_events.empty() &&
         !kv_snapshot.has_value() && model_gone.ok() && prefill_rows == 0 && decode_rows == 0;
}

void StepOutput::Clear() {
  step = 0;
  rows.clear();
  tokens.clear();
  logprobs.clear();
  prompt_rows.clear();
  prompt_logprobs.clear();
  starts.clear();
  finishes.clear();
  kv_events = {};
  kv_snapshot.reset();
  stats = {};
  ttft_seconds.clear();
  itl_seconds.clear();
  prefill_rows = 0;
  decode_rows = 0;
  sequences = 0;
  duration = {};
  gap_seconds.reset();
  model_gone = absl::OkStatus();
}

}  // namespace weft::engine
