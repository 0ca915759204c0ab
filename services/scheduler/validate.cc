#include "services/scheduler/validate.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "services/scheduler/rpc_code.h"

namespace weft::scheduler {
namespace {

std::optional<v1::RequestError> Invalid(std::string_view field, std::string_view what) {
  return MakeError(kInvalidArgument, fmt::format("{}: {}", field, what), field);
}

// Not a number is in no range.
bool In(float value, float low, float high) { return value >= low && value <= high; }

std::optional<v1::RequestError> CheckSampling(const v1::SamplingParams& s) {
  if (!In(s.temperature(), 0, 2)) return Invalid("temperature", "must be in [0, 2]");
  if (!(s.top_p() > 0 && s.top_p() <= 1)) return Invalid("top_p", "must be in (0, 1]");
  if (!In(s.min_p(), 0, 1)) return Invalid("min_p", "must be in [0, 1]");
  if (!(s.repetition_penalty() > 0 && s.repetition_penalty() <= 10)) {
    return Invalid("repetition_penalty", "must be in (0, 10]");
  }
  if (!In(s.presence_penalty(), -2, 2)) return Invalid("presence_penalty", "must be in [-2, 2]");
  if (!In(s.frequency_penalty(), -2, 2)) return Invalid("frequency_penalty", "must be in [-2, 2]");
  if (s.max_tokens() > (1u << 30)) return Invalid("max_tokens", "must be at most 2^30");
  if (s.min_tokens() > s.max_tokens()) return Invalid("min_tokens", "must not exceed max_tokens");
  if (s.stop_token_ids_size() > 64) return Invalid("stop_token_ids", "at most 64 ids");
  if (s.logit_bias_ids_size() != s.logit_bias_values_size()) {
    return Invalid("logit_bias", "as many values as ids");
  }
  if (s.logit_bias_ids_size() > 1024) return Invalid("logit_bias", "at most 1024 ids");
  for (const float v : s.logit_bias_values()) {
    if (!In(v, -100, 100)) return Invalid("logit_bias", "values must be in [-100, 100]");
  }
  if (s.top_logprobs() > 20) return Invalid("top_logprobs", "must be in [0, 20]");
  if (s.prompt_logprobs() && !s.logprobs()) {
    return Invalid("prompt_logprobs", "needs logprobs to be true");
  }
  if (s.top_logprobs() > 0 && !s.logprobs()) {
    return Invalid("top_logprobs", "needs logprobs to be true");
  }
  return std::nullopt;
}

}  // namespace

v1::RequestError MakeError(int grpc_code, std::string message, std::string_view field) {
  v1::RequestError error;
  error.set_code(grpc_code);
  error.set_message(std::move(message));
  error.set_field(std::string(field));
  return error;
}

v1::RequestError MakeRetryError(int grpc_code, std::string message, int64_t retry_after_ms) {
  v1::RequestError error = MakeError(grpc_code, std::move(message));
  error.mutable_retry_after()->set_seconds(retry_after_ms / 1000);
  error.mutable_retry_after()->set_nanos(static_cast<int32_t>(retry_after_ms % 1000) * 1'000'000);
  return error;
}

std::optional<v1::RequestError> ValidateSubmit(const v1::Submit& submit,
                                               const SubmitLimits& limits) {
  const auto too_long = [&](std::string_view field) {
    return Invalid(field, fmt::format("longer than {} bytes", limits.max_prompt_bytes));
  };
  switch (submit.input_case()) {
    case v1::Submit::kPrompt:
      if (submit.prompt().size() > limits.max_prompt_bytes) return too_long("prompt");
      break;
    case v1::Submit::kChat: {
      const auto& messages = submit.chat().messages();
      if (messages.empty()) return Invalid("messages", "must not be empty");
      if (static_cast<size_t>(messages.size()) > limits.max_messages) {
        return Invalid("messages", fmt::format("more than {}", limits.max_messages));
      }
      size_t bytes = 0;
      for (const v1::ChatMessage& m : messages) bytes += m.role().size() + m.content().size();
      if (bytes > limits.max_prompt_bytes) return too_long("messages");
      break;
    }
    case v1::Submit::kFillIn: {
      const v1::FillIn& fill = submit.fill_in();
      size_t bytes = fill.prefix().size() + fill.suffix().size() + fill.middle().size() +
                     fill.filename().size() + fill.repository().size();
      for (const v1::ExtraFile& f : fill.extra()) bytes += f.filename().size() + f.text().size();
      if (bytes > limits.max_prompt_bytes) return too_long("suffix");
      if (static_cast<size_t>(fill.extra_size()) > limits.max_messages) {
        return Invalid("extra", fmt::format("more than {} files", limits.max_messages));
      }
      break;
    }
    case v1::Submit::kTokens:
      if (submit.tokens().ids().empty()) return Invalid("tokens", "must not be empty");
      if (static_cast<size_t>(submit.tokens().ids_size()) > limits.max_prompt_bytes) {
        return too_long("tokens");
      }
      break;
    case v1::Submit::INPUT_NOT_SET:
      if (submit.resume().prompt_ids().empty()) {
        return Invalid("prompt", "a prompt, messages or tokens must be given");
      }
      break;
  }
  if (submit.has_resume()) {
    if (submit.resume().prompt_ids().empty()) {
      return Invalid("resume.prompt_ids", "must not be empty");
    }
    if (submit.resume().output_ids_size() > 0 &&
        static_cast<size_t>(submit.resume().output_ids_size()) >= submit.sampling().max_tokens()) {
      return Invalid("resume.output_ids", "must be fewer than max_tokens");
    }
  }
  if (static_cast<size_t>(submit.stop_size()) > limits.max_stop_strings) {
    return Invalid("stop", fmt::format("at most {} strings", limits.max_stop_strings));
  }
  for (const std::string& stop : submit.stop()) {
    if (stop.empty()) return Invalid("stop", "strings must not be empty");
    if (stop.size() > limits.max_stop_bytes) {
      return Invalid("stop", fmt::format("strings of at most {} bytes", limits.max_stop_bytes));
    }
  }
  if (std::isnan(submit.weight()) || submit.weight() < 0 || submit.weight() > 1e6F) {
    return Invalid("weight", "must be in [0, 1000000]");
  }
  if (submit.kv_salt().size() > 256) return Invalid("kv_salt", "at most 256 bytes");
  if (submit.has_timeout() && (submit.timeout().seconds() < 0 || submit.timeout().nanos() < 0)) {
    return Invalid("timeout", "must not be negative");
  }
  return CheckSampling(submit.sampling());
}

std::optional<v1::RequestError> ValidateForModel(const v1::Submit& submit,
                                                 const v1::ModelInfo& model, size_t prompt_tokens) {
  const std::string_view field = submit.input_case() == v1::Submit::kChat     ? "messages"
                                 : submit.input_case() == v1::Submit::kTokens ? "tokens"
                                                                              : "prompt";
  if (prompt_tokens == 0) return Invalid(field, "has no tokens");
  if (prompt_tokens >= model.context_length()) {
    return Invalid(field, fmt::format("has {} tokens; the context of model {} is {} tokens, prompt "
                                      "and output together",
                                      prompt_tokens, model.id(), model.context_length()));
  }
  const auto beyond = [&](const auto& ids) {
    for (const uint32_t id : ids) {
      if (id >= model.vocab_size()) return true;
    }
    return false;
  };
  const std::string what =
      fmt::format("ids must be below the vocabulary's size, {}", model.vocab_size());
  if (beyond(submit.tokens().ids())) return Invalid("tokens", what);
  if (beyond(submit.resume().prompt_ids())) return Invalid("resume.prompt_ids", what);
  if (beyond(submit.resume().output_ids())) return Invalid("resume.output_ids", what);
  if (beyond(submit.sampling().stop_token_ids())) return Invalid("stop_token_ids", what);
  if (beyond(submit.sampling().logit_bias_ids())) return Invalid("logit_bias", what);
  return std::nullopt;
}

}  // namespace weft::scheduler
