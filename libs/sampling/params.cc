#include "libs/sampling/params.h"

#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::sampling {
namespace {

// "sampling.<field>: …", with the field as a payload too.
template <typename... Args>
absl::Status Bad(std::string_view field, fmt::format_string<Args...> format, Args&&... args) {
  const std::string name = fmt::format("sampling.{}", field);
  return WithField(
      InvalidArgument("{}: {}", name, fmt::format(format, std::forward<Args>(args)...)), name);
}

// Written so that NaN is outside of every range.
absl::Status CheckRange(const char* field, float value, float low, float high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad(field, "{} is not in [{}, {}]", value, low, high);
}

absl::Status CheckPositive(const char* field, float value, float high) {
  if (value > 0.0F && value <= high) return absl::OkStatus();
  return Bad(field, "{} is not in (0, {}]", value, high);
}

absl::Status CheckId(const char* field, size_t index, int32_t id, int32_t vocab_size) {
  if (id >= 0 && id < vocab_size) return absl::OkStatus();
  return Bad(fmt::format("{}[{}]", field, index), "token id {} is not in [0, {})", id, vocab_size);
}

}  // namespace

absl::Status SamplingParams::Validate(int32_t vocab_size) const {
  WEFT_RETURN_IF_ERROR(CheckRange("temperature", temperature, 0, 2));
  WEFT_RETURN_IF_ERROR(CheckPositive("top_p", top_p, 1));
  WEFT_RETURN_IF_ERROR(CheckRange("min_p", min_p, 0, 1));
  WEFT_RETURN_IF_ERROR(CheckPositive("repetition_penalty", repetition_penalty, 10));
  WEFT_RETURN_IF_ERROR(CheckRange("presence_penalty", presence_penalty, -2, 2));
  WEFT_RETURN_IF_ERROR(CheckRange("frequency_penalty", frequency_penalty, -2, 2));
  if (min_tokens > max_tokens) {
    return Bad("min_tokens", "{} is more than max_tokens {}", min_tokens, max_tokens);
  }
  if (top_logprobs > static_cast<uint32_t>(kMaxTopLogprobs)) {
    return Bad("top_logprobs", "{} is not in [0, {}]", top_logprobs, kMaxTopLogprobs);
  }
  if (prompt_logprobs && !logprobs) return Bad("prompt_logprobs", "needs logprobs");
  if (stop_token_ids.size() > static_cast<size_t>(kMaxStopTokenIds)) {
    return Bad("stop_token_ids", "{} ids, at most {} are allowed", stop_token_ids.size(),
               kMaxStopTokenIds);
  }
  for (size_t i = 0; i < stop_token_ids.size(); ++i) {
    WEFT_RETURN_IF_ERROR(CheckId("stop_token_ids", i, stop_token_ids[i], vocab_size));
  }
  if (logit_bias.size() > static_cast<size_t>(kMaxLogitBias)) {
    return Bad("logit_bias", "{} entries, at most {} are allowed", logit_bias.size(),
               kMaxLogitBias);
  }
  for (size_t i = 0; i < logit_bias.size(); ++i) {
    WEFT_RETURN_IF_ERROR(CheckId("logit_bias", i, logit_bias[i].first, vocab_size));
    WEFT_RETURN_IF_ERROR(CheckRange("logit_bias", logit_bias[i].second, -100, 100));
  }
  return absl::OkStatus();
}

}  // namespace weft::sampling
