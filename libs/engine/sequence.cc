#include "libs/engine/sequence.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"

namespace weft::engine {
namespace {

template <typename... Args>
absl::Status Bad(std::string_view field, fmt::format_string<Args...> format, Args&&... args) {
  return WithField(
      InvalidArgument("{}: {}", field, fmt::format(format, std::forward<Args>(args)...)), field);
}

absl::Status CheckTokens(const char* field, std::span<const int32_t> tokens, int32_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) {
      return Bad(fmt::format("{}[{}]", field, i), "token id {} is not in [0, {})", tokens[i],
                 vocab_size);
    }
  }
  return absl::OkStatus();
}

}  // namespace

Sequence::Sequence(WorkItem work, SteadyTime now) : item(std::move(work)), submitted(now) {
  prompt_size = item.prompt.size();
  tokens = std::move(item.prompt);
  tokens.insert(tokens.end(), item.output.begin(), item.output.end());
  item.prompt = {};
  item.output = {};
}

absl::Status ValidateItem(const WorkItem& item, const SequenceLimits& limits) {
  if (item.prompt.empty()) return Bad("prompt", "must have at least one token");
  if (item.prompt.size() >= static_cast<size_t>(limits.max_context)) {
    return Bad("prompt", "{} tokens leave no room in the context of {}", item.prompt.size(),
               limits.max_context);
  }
  WEFT_RETURN_IF_ERROR(item.sampling.Validate(limits.vocab_size));
  if (item.output.size() > item.sampling.max_tokens) {
    return Bad("output", "{} tokens are more than sampling.max_tokens ({})", item.output.size(),
               item.sampling.max_tokens);
  }
  if (item.prompt.size() + item.output.size() > static_cast<size_t>(limits.max_context)) {
    return Bad("output", "{} tokens after a prompt of {} are beyond the context of {}",
               item.output.size(), item.prompt.size(), limits.max_context);
  }
  WEFT_RETURN_IF_ERROR(CheckTokens("prompt", item.prompt, limits.vocab_size));
  WEFT_RETURN_IF_ERROR(CheckTokens("output", item.output, limits.vocab_size));
  if (!(item.weight > 0.0) || !std::isfinite(item.weight)) {
    return Bad("weight", "{} is not a positive number", item.weight);
  }
  if (item.kv_salt.size() > kMaxKvSaltBytes) {
    return Bad("kv_salt", "{} bytes, at most {} are allowed", item.kv_salt.size(), kMaxKvSaltBytes);
  }
  return absl::OkStatus();
}

std::optional<FinishReason> FinishRule(const Sequence& sequence, const SequenceLimits& limits) {
  const std::span<const int32_t> output = sequence.output();
  const SamplingParams& sampling = sequence.item.sampling;
  if (output.empty()) return std::nullopt;
  auto in = [last = output.back()](const std::vector<int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), last) != ids.end();
  };
  if (!sampling.ignore_eos && in(limits.eos_ids)) return FinishReason::kStop;
  if (in(sampling.stop_token_ids)) return FinishReason::kStop;
  if (output.size() >= sampling.max_tokens) return FinishReason::kLength;
  if (sequence.known() >= limits.max_context) return FinishReason::kLength;
  return std::nullopt;
}

}  // namespace weft::engine
