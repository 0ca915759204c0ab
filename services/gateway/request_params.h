// Parts that several kinds of requests read alike.
#pragma once

#include <absl/status/status.h>

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "services/gateway/generation_request.h"
#include "services/gateway/param_reader.h"

namespace weft::gateway {

inline constexpr int64_t kMaxTokens = 1 << 20;
inline constexpr size_t kMaxModelName = 256;
inline constexpr size_t kMaxNameBytes = 64;  // of a message's author
inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kAnyLength = size_t{1} << 40;  // the body's limit holds

absl::Status NeedObject(const nlohmann::json& body);
// Refuses or cuts a longer prompt, as `limits` say.
absl::Status LimitPrompt(uint64_t max_characters, const RequestLimits& limits,
                         std::string_view field, std::string& prompt, GenerationRequest& out);
// The role of a message as chat templates know it: system (also called developer), user, assistant
// or tool (once called function). Empty for any other: a template writes roles as they are, beside
// special tokens.
std::string_view TemplateRole(std::string_view role);
// 0, which OpenAI allows, leaves only the likeliest token.
float ReadTopP(ParamReader& r, double fallback);
void ReadStop(ParamReader& r, v1::Submit& submit);
void ReadLogitBias(ParamReader& r, v1::SamplingParams& sampling);
bool IsTokenId(const nlohmann::json& value);
// What chat and completions have in common, beside max_tokens and logprobs.
void ReadSampling(ParamReader& r, const RequestLimits& limits, GenerationRequest& out);
void ReadPriority(ParamReader& r, GenerationRequest& out);
void SetMaxTokens(GenerationRequest& out, std::optional<int64_t> given, int64_t fallback);
absl::Status CheckMinTokens(const GenerationRequest& request);

}  // namespace weft::gateway
