// Generate over gRPC.
#include <algorithm>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/scan/policy.h"
#include "services/gateway/request_params.h"

namespace weft::gateway {
absl::StatusOr<GenerationRequest> FromGrpc(const v1::GenerateRequest& request,
                                           const RequestLimits& limits) {
  GenerationRequest out;
  out.kind = ApiKind::kGrpc;
  out.stream = true;
  out.user = request.user();
  out.submit.set_model(request.model().empty() ? limits.default_model : request.model());
  v1::SamplingParams& s = *out.submit.mutable_sampling();
  if (request.has_sampling()) {
    s = request.sampling();
    // proto3 has no way to leave these out: zero cannot be meant.
    if (s.top_p() == 0) s.set_top_p(1);
    if (s.repetition_penalty() == 0) s.set_repetition_penalty(1);
  } else {
    s.set_temperature(1);
    s.set_top_p(1);
    s.set_repetition_penalty(1);
  }
  out.max_tokens_given = true;
  if (s.max_tokens() == 0) s.set_max_tokens(256);
  if (s.max_tokens() > kMaxTokens) {
    return WithField(InvalidArgument("sampling.max_tokens: must be at most {}", kMaxTokens),
                     "sampling.max_tokens");
  }
  if (static_cast<size_t>(request.stop_size()) > kMaxStops) {
    return WithField(InvalidArgument("stop: at most {} strings", kMaxStops), "stop");
  }
  *out.submit.mutable_stop() = request.stop();
  out.priority_given = request.priority() != v1::PRIORITY_UNSPECIFIED;
  if (request.priority() == v1::PRIORITY_LOW) out.submit.set_priority(-1);
  if (request.priority() == v1::PRIORITY_HIGH) out.submit.set_priority(1);
  switch (request.input_case()) {
    case v1::GenerateRequest::kPrompt:
      out.submit.set_prompt(request.prompt());
      WEFT_RETURN_IF_ERROR(LimitPrompt(static_cast<uint64_t>(limits.max_prompt_characters), limits,
                                       "prompt", *out.submit.mutable_prompt(), out));
      break;
    case v1::GenerateRequest::kChat: {
      *out.submit.mutable_chat() = request.chat();
      auto left = static_cast<uint64_t>(limits.max_prompt_characters);
      for (v1::ChatMessage& message : *out.submit.mutable_chat()->mutable_messages()) {
        const std::string_view role = TemplateRole(message.role());
        if (role.empty()) {
          return WithField(
              InvalidArgument("chat.messages.role: must be system, developer, user, assistant, "
                              "tool or function"),
              "chat.messages.role");
        }
        message.set_role(std::string(role));
        if (message.name().size() > kMaxNameBytes) {
          return WithField(
              InvalidArgument("chat.messages.name: must be at most {} bytes", kMaxNameBytes),
              "chat.messages.name");
        }
        WEFT_RETURN_IF_ERROR(
            LimitPrompt(left, limits, "chat.messages", *message.mutable_content(), out));
        left -= std::min(left, scan::CountCharacters(message.content()));
      }
      break;
    }
    case v1::GenerateRequest::kFillIn: {
      *out.submit.mutable_fill_in() = request.fill_in();
      v1::FillIn& fill = *out.submit.mutable_fill_in();
      auto left = static_cast<uint64_t>(limits.max_prompt_characters);
      const auto take = [&](std::string_view field, std::string& text) -> absl::Status {
        WEFT_RETURN_IF_ERROR(LimitPrompt(left, limits, field, text, out));
        left -= std::min(left, scan::CountCharacters(text));
        return absl::OkStatus();
      };
      WEFT_RETURN_IF_ERROR(take("fill_in.prefix", *fill.mutable_prefix()));
      WEFT_RETURN_IF_ERROR(take("fill_in.suffix", *fill.mutable_suffix()));
      WEFT_RETURN_IF_ERROR(take("fill_in.middle", *fill.mutable_middle()));
      for (v1::ExtraFile& file : *fill.mutable_extra()) {
        WEFT_RETURN_IF_ERROR(take("fill_in.extra", *file.mutable_text()));
      }
      break;
    }
    case v1::GenerateRequest::INPUT_NOT_SET:
      return WithField(InvalidArgument("input: 'prompt', 'chat' or 'fill_in' must be given"),
                       "input");
  }
  return out;
}

}  // namespace weft::gateway
