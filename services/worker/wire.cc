#include "services/worker/wire.h"

#include <algorithm>
#include <limits>
#include <string>

#include "libs/base/status.h"

namespace weft::worker {
namespace {

template <typename Ids>
absl::StatusOr<std::vector<int32_t>> Signed(const Ids& ids, std::string_view field) {
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(ids.size()));
  for (const uint32_t id : ids) {
    if (id > static_cast<uint32_t>(std::numeric_limits<int32_t>::max())) {
      return InvalidArgument("{}: {} is no token id", field, id);
    }
    out.push_back(static_cast<int32_t>(id));
  }
  return out;
}

uint32_t Micros(std::chrono::microseconds d) {
  return static_cast<uint32_t>(
      std::clamp<int64_t>(d.count(), 0, std::numeric_limits<uint32_t>::max()));
}

}  // namespace

absl::StatusOr<engine::WorkItem> FromWire(const v1::WorkItem& in, SteadyTime now) {
  engine::WorkItem out;
  out.attempt = in.attempt();
  WEFT_ASSIGN_OR_RETURN(out.prompt, Signed(in.prompt_ids(), "prompt_ids"));
  WEFT_ASSIGN_OR_RETURN(out.output, Signed(in.output_ids(), "output_ids"));
  const v1::SamplingParams& s = in.sampling();
  out.sampling.temperature = s.temperature();
  out.sampling.top_p = s.top_p();
  out.sampling.top_k = s.top_k();
  out.sampling.min_p = s.min_p();
  out.sampling.repetition_penalty = s.repetition_penalty();
  out.sampling.presence_penalty = s.presence_penalty();
  out.sampling.frequency_penalty = s.frequency_penalty();
  out.sampling.max_tokens = s.max_tokens();
  out.sampling.min_tokens = s.min_tokens();
  out.sampling.ignore_eos = s.ignore_eos();
  WEFT_ASSIGN_OR_RETURN(out.sampling.stop_token_ids,
                        Signed(s.stop_token_ids(), "sampling.stop_token_ids"));
  WEFT_ASSIGN_OR_RETURN(const auto bias, Signed(s.logit_bias_ids(), "sampling.logit_bias"));
  if (s.logit_bias_values_size() != s.logit_bias_ids_size()) {
    return InvalidArgument("sampling.logit_bias: {} ids and {} values", s.logit_bias_ids_size(),
                           s.logit_bias_values_size());
  }
  for (int i = 0; i < s.logit_bias_ids_size(); ++i) {
    out.sampling.logit_bias.emplace_back(bias[static_cast<size_t>(i)], s.logit_bias_values(i));
  }
  out.sampling.logprobs = s.logprobs();
  out.sampling.top_logprobs = s.top_logprobs();
  out.sampling.prompt_logprobs = s.prompt_logprobs();
  if (!s.has_seed()) return InvalidArgument("sampling.seed: must be set");
  out.sampling.seed = s.seed();
  out.choice = in.choice();
  out.share_key = in.share_key();
  out.weight = in.weight() > 0 ? static_cast<double>(in.weight()) : 1.0;
  out.priority = in.priority();
  if (in.timeout_us() > 0) {
    constexpr uint64_t kMost = 1'000'000ULL * 3600 * 24 * 365;
    out.deadline =
        now + std::chrono::microseconds(static_cast<int64_t>(std::min(in.timeout_us(), kMost)));
  }
  out.kv_salt = in.kv_salt();
  return out;
}

v1::FinishReason ToWire(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case engine::FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case engine::FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case engine::FinishReason::kError:
      return v1::FINISH_REASON_ERROR;
  }
  return v1::FINISH_REASON_ERROR;
}

v1::RequestError ToWire(const absl::Status& error) {
  v1::RequestError out;
  const std::string_view message = Message(error);
  out.set_code(static_cast<int>(error.code()));
  out.set_message(std::string(message));
  const size_t colon = message.find(':');
  if (error.code() == absl::StatusCode::kInvalidArgument && colon != std::string_view::npos &&
      message.substr(0, colon).find(' ') == std::string_view::npos) {
    std::string_view field = message.substr(0, colon);
    constexpr std::string_view kSampling = "sampling.";
    if (field.substr(0, kSampling.size()) == kSampling) field.remove_prefix(kSampling.size());
    out.set_field(std::string(field));
  }
  return out;
}

void ToWire(const engine::TokenLogprob& in, v1::TokenLogprob* out) {
  out->set_token_id(static_cast<uint32_t>(in.token));
  out->set_logprob(in.logprob);
  for (const int32_t id : in.top_ids) out->add_top_ids(static_cast<uint32_t>(id));
  out->mutable_top_logprobs()->Add(in.top_logprobs.begin(), in.top_logprobs.end());
}

void ToWire(const engine::EngineStats& in, v1::EngineStats* out) {
  out->set_running(in.running);
  out->set_waiting(in.waiting);
  out->set_kv_blocks_total(in.kv_blocks_total);
  out->set_kv_blocks_free(in.kv_blocks_free);
  out->set_steps(in.steps);
  out->set_layer_progress(in.layer_progress);
  out->set_step_ms(static_cast<float>(in.step_ms));
  out->set_prompt_tokens(in.prompt_tokens);
  out->set_output_tokens(in.output_tokens);
  out->set_prefix_hit_tokens(in.prefix_hit_tokens);
  out->set_preemptions(in.preemptions);
}

void AddRow(const engine::StepOutput& output, const engine::StepRow& row, uint32_t handle,
            v1::StepFrame* frame) {
  frame->add_handles(handle);
  frame->add_attempts(row.attempt);
  frame->add_first_indexes(row.first_index);
  frame->add_token_counts(row.token_count);
  for (const int32_t token : output.Tokens(row)) {
    frame->add_token_ids(static_cast<uint32_t>(token));
  }
  if (row.logprob_count == 0) return;
  v1::RowLogprobs& logprobs = *frame->add_logprobs();
  logprobs.set_handle(handle);
  for (const engine::TokenLogprob& l : output.Logprobs(row)) ToWire(l, logprobs.add_tokens());
}

void AddPromptRow(const engine::StepOutput& output, const engine::PromptRow& row, uint32_t handle,
                  v1::StepFrame* frame) {
  v1::RowPromptLogprobs& logprobs = *frame->add_prompt_logprobs();
  logprobs.set_handle(handle);
  logprobs.set_attempt(row.attempt);
  logprobs.set_first_position(row.first_position);
  for (const engine::TokenLogprob& l : output.Logprobs(row)) ToWire(l, logprobs.add_tokens());
}

void AddStart(const engine::StepStart& start, uint32_t handle, v1::StepFrame* frame) {
  v1::RowStart& out = *frame->add_starts();
  out.set_handle(handle);
  out.set_attempt(start.attempt);
  out.set_cached_prompt_tokens(start.cached_prompt_tokens);
  out.set_queue_us(Micros(start.queue_time));
}

void AddFinish(const engine::StepFinish& finish, uint32_t handle, v1::StepFrame* frame) {
  v1::RowFinish& out = *frame->add_finishes();
  out.set_handle(handle);
  out.set_attempt(finish.attempt);
  out.set_reason(ToWire(finish.reason));
  if (finish.reason == engine::FinishReason::kError) *out.mutable_error() = ToWire(finish.error);
  out.set_cached_prompt_tokens(finish.cached_prompt_tokens);
  out.set_prefill_us(Micros(finish.prefill_time));
  out.set_decode_us(Micros(finish.decode_time));
}

}  // namespace weft::worker
