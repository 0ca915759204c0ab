// What all requests go through, and those of /generate and /predict.
#include "services/gateway/generation_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"
#include "services/gateway/request_params.h"

namespace weft::gateway {

using nlohmann::json;

absl::Status BoundPriority(const RequestLimits& limits, const identity::Principal* principal,
                           GenerationRequest& request) {
  const bool any = principal != nullptr && principal->Can(identity::Permission::kModelsPrioritize);
  int32_t most = any ? identity::kHighestPriority : limits.developer_priority;
  if (principal != nullptr) most = principal->max_priority.value_or(most);
  if (request.submit.priority() <= most) return absl::OkStatus();
  if (!request.priority_given) {
    request.submit.set_priority(most);
    return absl::OkStatus();
  }
  return WithField(PermissionDenied("This API key may not ask for a priority above '{}'.",
                                    identity::PriorityName(most)),
                   "priority");
}

absl::StatusOr<GenerationRequest> ParseGenerateRequest(const json& body,
                                                       const RequestLimits& limits) {
  WEFT_RETURN_IF_ERROR(NeedObject(body));
  GenerationRequest out;
  out.kind = ApiKind::kGenerate;
  ParamReader r(body, "");
  std::string prompt = r.RequiredText("prompt", kAnyLength);
  SetMaxTokens(out, r.Integer("max_tokens", 256, 1, kMaxTokens), 256);
  v1::SamplingParams& s = *out.submit.mutable_sampling();
  s.set_temperature(static_cast<float>(r.Number("temperature", 0.7, 0, 2)));
  s.set_top_p(ReadTopP(r, 0.9));
  s.set_repetition_penalty(1);
  out.language = r.Text("language", "", 64);
  out.submit.set_model(r.Text("model", limits.default_model, kMaxModelName));
  if (const auto seed = r.OptionalInteger("seed", INT64_MIN, INT64_MAX)) {
    s.set_seed(static_cast<uint64_t>(*seed));
  }
  ReadStop(r, out.submit);
  WEFT_RETURN_IF_ERROR(r.Finish());
  WEFT_RETURN_IF_ERROR(LimitPrompt(static_cast<uint64_t>(limits.generate_max_prompt_characters),
                                   limits, "prompt", prompt, out));
  if (prompt.empty())
    return ParamError("prompt", "invalid_value", "Invalid 'prompt': it is empty.");
  // The caller's words are an instruction, so they go through the model's chat template.
  v1::ChatMessage& message = *out.submit.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content(out.language.empty()
                          ? std::move(prompt)
                          : fmt::format("Language: {}\n\n{}", out.language, prompt));
  return out;
}

absl::StatusOr<GenerationRequest> ParsePredictRequest(const json& body,
                                                      const RequestLimits& limits) {
  WEFT_RETURN_IF_ERROR(NeedObject(body));
  GenerationRequest out;
  out.kind = ApiKind::kPredict;
  ParamReader r(body, "");
  std::string model = r.Text("model_id", "default", kMaxModelName);
  out.submit.set_model(model == "default" ? limits.default_model : std::move(model));
  std::string input = r.RequiredText("input", kAnyLength);
  WEFT_RETURN_IF_ERROR(r.Finish());
  WEFT_RETURN_IF_ERROR(LimitPrompt(static_cast<uint64_t>(limits.max_prompt_characters), limits,
                                   "input", input, out));
  if (input.empty()) return ParamError("input", "invalid_value", "Invalid 'input': it is empty.");
  SetMaxTokens(out, 256, 256);
  v1::SamplingParams& s = *out.submit.mutable_sampling();
  s.set_temperature(0);  // the same input gives the same prediction
  s.set_top_p(1);
  s.set_repetition_penalty(1);
  v1::ChatMessage& message = *out.submit.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content(std::move(input));
  return out;
}

}  // namespace weft::gateway
