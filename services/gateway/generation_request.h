// What a client asks the model for, whichever API it used.
#pragma once

#include <absl/status/statusor.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "libs/identity/principal.h"
#include "weft/v1/scheduler.pb.h"

namespace weft::gateway {

enum class ApiKind { kChat, kCompletion, kInfill, kGenerate, kPredict, kGrpc };

struct GenerationRequest {
  ApiKind kind = ApiKind::kChat;
  // Model, input, sampling and stop strings. The rest is filled when it is submitted.
  v1::Submit submit;
  // Where there are several prompts: only the input of each counts, and submit has none.
  std::vector<v1::Submit> inputs;
  uint32_t choices = 1;  // answers for each prompt
  uint32_t best_of = 1;  // sequences run for each prompt, of which the best `choices` are answers
  bool max_tokens_given = false;  // false: as many as the model's context holds
  bool priority_given = false;    // false: normal, or the highest that the key may ask for
  bool stream = false;
  bool include_usage = false;
  bool show_service_tier = false;            // the caller gave one: the answer says which it had
  bool echo = false;                         // completions: the prompt comes before the text
  bool show_logprobs = false;                // the caller asked for them, not only best_of
  bool prompt_truncated = false;             // it was longer than RequestLimits allow
  std::vector<std::string> response_fields;  // infill: of the answer; empty = all
  std::string language;                      // of /generate; empty = unknown
  std::string user;                          // the caller's end user

  std::string_view InputField() const {
    return submit.has_chat() ? "messages" : kind == ApiKind::kInfill ? "input_prefix" : "prompt";
  }
  uint32_t prompts() const { return std::max<uint32_t>(1, static_cast<uint32_t>(inputs.size())); }
  uint32_t sequences() const { return prompts() * best_of; }
  const v1::Submit& input(uint32_t prompt) const {
    return inputs.empty() ? submit : inputs[prompt];
  }
  // The text before the answer; empty for token ids.
  const std::string& PromptText(uint32_t prompt) const {
    const v1::Submit& s = input(prompt);
    return s.has_fill_in() ? s.fill_in().prefix() : s.prompt();
  }
};

struct RequestLimits {
  uint32_t max_choices = 8;
  uint32_t max_prompts = 16;  // of one request
  int64_t max_prompt_characters = 262'144;
  int64_t generate_max_prompt_characters = 4'096;
  bool truncate_prompt = false;    // cut a longer prompt instead of refusing it
  int32_t developer_priority = 0;  // the highest without models:prioritize, unless set for the key
  std::string default_model;  // of requests that may leave it out; empty: the request must name one
};

// Each takes the body's JSON. Errors are statuses as api_error.h makes them.
absl::StatusOr<GenerationRequest> ParseChatRequest(const nlohmann::json& body,
                                                   const RequestLimits& limits);
absl::StatusOr<GenerationRequest> ParseCompletionRequest(const nlohmann::json& body,
                                                         const RequestLimits& limits);
// As llama.cpp's server takes it, and the editors' plug-ins send it.
absl::StatusOr<GenerationRequest> ParseInfillRequest(const nlohmann::json& body,
                                                     const RequestLimits& limits);
absl::StatusOr<GenerationRequest> ParseGenerateRequest(const nlohmann::json& body,
                                                       const RequestLimits& limits);
absl::StatusOr<GenerationRequest> ParsePredictRequest(const nlohmann::json& body,
                                                      const RequestLimits& limits);
// A key may ask for at most what was set when it was made, else for any priority with the
// permission models:prioritize and for limits.developer_priority otherwise. PERMISSION_DENIED when
// the request asks for more; one that asks for none gets no more.
absl::Status BoundPriority(const RequestLimits& limits, const identity::Principal* principal,
                           GenerationRequest& request);
// From the gRPC API: fills defaults, checks what the scheduler does not.
absl::StatusOr<GenerationRequest> FromGrpc(const v1::GenerateRequest& request,
                                           const RequestLimits& limits);

}  // namespace weft::gateway
