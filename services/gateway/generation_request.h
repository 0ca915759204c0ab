// What a client asks the model for, whichever API it used.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "weft/v1/scheduler.pb.h"

namespace weft::gateway {

enum class ApiKind { kChat, kCompletion, kGenerate, kPredict, kGrpc };

struct GenerationRequest {
  ApiKind kind = ApiKind::kChat;
  // Model, input, sampling and stop strings. The rest is filled when it is submitted.
  v1::Submit submit;
  uint32_t choices = 1;
  bool max_tokens_given = false;  // false: as many as the model's context holds
  bool stream = false;
  bool include_usage = false;
  bool echo = false;              // completions: the prompt comes before the text
  bool prompt_truncated = false;  // it was longer than RequestLimits allow
  std::string language;           // of /generate; empty = unknown
  std::string user;               // the caller's end user

  std::string_view InputField() const { return submit.has_chat() ? "messages" : "prompt"; }
};

struct RequestLimits {
  uint32_t max_choices = 8;
  int64_t max_prompt_characters = 262'144;
  int64_t generate_max_prompt_characters = 4'096;
  bool truncate_prompt = false;  // cut a longer prompt instead of refusing it
  std::string default_model;  // of requests that may leave it out; empty: the request must name one
};

// Each takes the body's JSON. Errors are statuses as api_error.h makes them.
absl::StatusOr<GenerationRequest> ParseChatRequest(const nlohmann::json& body,
                                                   const RequestLimits& limits);
absl::StatusOr<GenerationRequest> ParseCompletionRequest(const nlohmann::json& body,
                                                         const RequestLimits& limits);
absl::StatusOr<GenerationRequest> ParseGenerateRequest(const nlohmann::json& body,
                                                       const RequestLimits& limits);
absl::StatusOr<GenerationRequest> ParsePredictRequest(const nlohmann::json& body,
                                                      const RequestLimits& limits);
// From the gRPC API: fills defaults, checks what the scheduler does not.
absl::StatusOr<GenerationRequest> FromGrpc(const v1::GenerateRequest& request,
                                           const RequestLimits& limits);

}  // namespace weft::gateway
