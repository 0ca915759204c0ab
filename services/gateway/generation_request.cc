#include "services/gateway/generation_request.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/error_info.h"
#include "libs/base/status.h"
#include "libs/scan/policy.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"
#include "services/gateway/request_params.h"

namespace weft::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxMessages = 2048;

void ReadStopTokens(ParamReader& r, v1::SamplingParams& sampling) {
  const json* ids = r.Get("stop_token_ids");
  if (ids == nullptr) return;
  if (!ids->is_array() || ids->size() > 64) {
    r.Fail(ParamError("stop_token_ids", "invalid_value",
                      "Invalid 'stop_token_ids': expected an array of at most 64 token ids."));
    return;
  }
  for (const json& id : *ids) {
    if (!IsTokenId(id)) {
      r.Fail(ParamError("stop_token_ids", "invalid_value",
                        "Invalid 'stop_token_ids': token ids are integers from 0."));
      return;
    }
    sampling.add_stop_token_ids(static_cast<uint32_t>(id.get<uint64_t>()));
  }
}

// A text, or an array of text parts joined.
std::string ReadContent(ParamReader& r, const json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) {
    r.Fail(r.WrongType("content", "a string or an array of content parts", content));
    return {};
  }
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string path = r.PathOf(fmt::format("content[{}]", i));
    if (!content[i].is_object()) {
      r.Fail(r.WrongType(fmt::format("content[{}]", i), "an object", content[i]));
      return {};
    }
    ParamReader part(content[i], path);
    const std::string type = part.RequiredText("type", 64);
    if (part.ok() && type != "text") {
      r.Fail(ParamError(path + ".type", "invalid_value",
                        fmt::format("Invalid value for '{}.type': this server's models take only "
                                    "'text' parts.",
                                    path)));
      return {};
    }
    text += part.RequiredText("text", kAnyLength);
    r.Fail(part.Finish());
  }
  return text;
}

// What a chat template writes as it is, beside special tokens: not any text.
bool IsRole(std::string_view role) {
  return role == "system" || role == "user" || role == "assistant" || role == "tool";
}
constexpr size_t kMaxNameBytes = 64;

void ReadMessage(const json& message, size_t index, v1::ChatMessage& out, absl::Status& status) {
  const std::string path = fmt::format("messages[{}]", index);
  if (!message.is_object()) {
    status = ParamError(path, "invalid_type",
                        fmt::format("Invalid type for '{}': expected an object.", path));
    return;
  }
  ParamReader r(message, path);
  std::string role = r.RequiredText("role", 64);
  if (role == "developer") role = "system";  // the newer name of the same thing
  if (r.ok() && !IsRole(role)) {
    r.Fail(ParamError(path + ".role", "invalid_value",
                      fmt::format("Invalid value for '{}.role': expected one of 'system', "
                                  "'developer', 'user', 'assistant' and 'tool'.",
                                  path)));
  }
  out.set_role(role);
  out.set_name(r.Text("name", "", kMaxNameBytes));
  if (role == "tool") r.RequiredText("tool_call_id", 256);
  r.Refuse("tool_calls", "is not supported by this server's models");
  r.Refuse("function_call", "is not supported by this server's models");
  r.Refuse("audio", "is not supported by this server's models");
  r.Ignore("refusal");
  r.Ignore("annotations");  // so that an answer may be sent back as it came
  if (const json* content = r.Get("content")) {
    out.set_content(ReadContent(r, *content));
  } else {
    r.Fail(MissingParam(path + ".content"));
  }
  status = r.Finish();
}

void ReadChatExtras(ParamReader& r, GenerationRequest& out) {
  constexpr std::string_view kNoTools = "is not supported by this server's models";
  if (const json* tools = r.Get("tools");
      tools != nullptr && !(tools->is_array() && tools->empty())) {
    r.Fail(UnsupportedParam("tools", kNoTools));
  }
  if (const json* choice = r.Get("tool_choice");
      choice != nullptr && *choice != "none" && *choice != "auto") {
    r.Fail(UnsupportedParam("tool_choice", kNoTools));
  }
  r.Ignore("parallel_tool_calls");
  for (const char* name : {"functions", "function_call", "audio", "prediction",
                           "web_search_options", "reasoning_effort", "verbosity", "moderation"}) {
    r.Refuse(name, kNoTools);
  }
  if (const json* format = r.Get("response_format")) {
    if (!format->is_object() || format->value("type", json()) != "text") {
      r.Fail(UnsupportedParam("response_format", "is supported with the type 'text' only"));
    }
  }
  if (const json* modalities = r.Get("modalities");
      modalities != nullptr && *modalities != json{"text"}) {
    r.Fail(UnsupportedParam("modalities", "is supported as [\"text\"] only"));
  }
  if (const json* store = r.Get("store"); store != nullptr && *store != false) {
    r.Fail(UnsupportedParam("store", "is not supported: nothing is stored"));
  }
  if (const json* tier = r.Get("service_tier"); tier != nullptr) {
    if (*tier == "flex" || *tier == "priority") {
      if (!std::exchange(out.priority_given, true)) {
        out.submit.set_priority(*tier == "flex" ? -1 : 1);
      }
    } else if (*tier != "auto" && *tier != "default") {
      r.Fail(UnsupportedParam("service_tier",
                              "is supported as 'auto', 'default', 'flex' and 'priority' only"));
    }
  }
  for (const char* name : {"metadata", "safety_identifier", "prompt_cache_key"}) r.Ignore(name);
}

}  // namespace

absl::Status NeedObject(const json& body) {
  if (body.is_object()) return absl::OkStatus();
  return InvalidArgument("The request body must be a JSON object.");
}

absl::Status LimitPrompt(uint64_t max_characters, const RequestLimits& limits,
                         std::string_view field, std::string& prompt, GenerationRequest& out) {
  scan::PromptLimit limit;
  limit.max_characters = max_characters;
  limit.over = limits.truncate_prompt ? scan::OverLimit::kTruncate : scan::OverLimit::kRefuse;
  const size_t bytes = prompt.size();
  const absl::Status status = scan::ApplyLimit(limit, field, prompt);
  out.prompt_truncated |= prompt.size() < bytes;
  return WithErrorCode(WithField(status, field), "string_above_max_length");
}

void ReadStop(ParamReader& r, v1::Submit& submit) {
  const json* stop = r.Get("stop");
  if (stop == nullptr) return;
  if (!stop->is_string() && !stop->is_array()) {
    r.Fail(r.WrongType("stop", "a string or an array of strings", *stop));
    return;
  }
  const size_t count = stop->is_string() ? 1 : stop->size();
  if (count > kMaxStops) {
    r.Fail(ParamError("stop", "array_above_max_length",
                      fmt::format("Invalid 'stop': array too long. Expected an array with maximum "
                                  "length {}, but got an array with length {} instead.",
                                  kMaxStops, count)));
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    const json& item = stop->is_string() ? *stop : (*stop)[i];
    const std::string path = stop->is_string() ? "stop" : fmt::format("stop[{}]", i);
    if (!item.is_string()) {
      r.Fail(r.WrongType(path, "a string", item));
      return;
    }
    const auto& text = item.get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      r.Fail(ParamError(
          path, "invalid_value",
          fmt::format("Invalid '{}': stop strings have 1 to {} bytes.", path, kMaxStopBytes)));
      return;
    }
    submit.add_stop(text);
  }
}

void ReadLogitBias(ParamReader& r, v1::SamplingParams& sampling) {
  const json* bias = r.Get("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) {
    r.Fail(r.WrongType("logit_bias", "an object", *bias));
    return;
  }
  if (bias->size() > 1024) {
    r.Fail(ParamError("logit_bias", "object_above_max_properties",
                      "Invalid 'logit_bias': at most 1024 tokens."));
    return;
  }
  ParamReader values(*bias, "logit_bias");
  for (const auto& [name, value] : bias->items()) {
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || name.empty()) {
      r.Fail(ParamError("logit_bias", "invalid_key",
                        "Invalid key in 'logit_bias': keys must be token ids."));
      return;
    }
    const double number = values.Number(name, 0, -100, 100);
    sampling.add_logit_bias_ids(id);
    sampling.add_logit_bias_values(static_cast<float>(number));
  }
  r.Fail(values.Finish());
}

bool IsTokenId(const json& value) {
  return value.is_number_integer() && value >= 0 && value <= UINT32_MAX;
}

float ReadTopP(ParamReader& r, double fallback) {
  const auto top_p = static_cast<float>(r.Number("top_p", fallback, 0, 1));
  return top_p > 0 ? top_p : std::numeric_limits<float>::min();
}

void ReadSampling(ParamReader& r, const RequestLimits& limits, GenerationRequest& out) {
  v1::SamplingParams& s = *out.submit.mutable_sampling();
  s.set_temperature(static_cast<float>(r.Number("temperature", 1, 0, 2)));
  s.set_top_p(ReadTopP(r, 1));
  s.set_presence_penalty(static_cast<float>(r.Number("presence_penalty", 0, -2, 2)));
  s.set_frequency_penalty(static_cast<float>(r.Number("frequency_penalty", 0, -2, 2)));
  if (const auto seed = r.OptionalInteger("seed", INT64_MIN, INT64_MAX)) {
    s.set_seed(static_cast<uint64_t>(*seed));
  }
  // Beyond OpenAI's API, under the names that other servers use.
  s.set_top_k(static_cast<uint32_t>(r.Integer("top_k", 0, 0, kMaxTokens)));
  s.set_min_p(static_cast<float>(r.Number("min_p", 0, 0, 1)));
  s.set_repetition_penalty(static_cast<float>(r.NumberAbove("repetition_penalty", 1, 0, 10)));
  s.set_min_tokens(static_cast<uint32_t>(r.Integer("min_tokens", 0, 0, kMaxTokens)));
  s.set_ignore_eos(r.Bool("ignore_eos", false));
  ReadStopTokens(r, s);
  ReadStop(r, out.submit);
  ReadLogitBias(r, s);
  out.choices = static_cast<uint32_t>(r.Integer("n", 1, 1, limits.max_choices));
  out.best_of = out.choices;
  ReadPriority(r, out);
  out.stream = r.Bool("stream", false);
  if (const json* options = r.Get("stream_options")) {
    if (!options->is_object()) {
      r.Fail(r.WrongType("stream_options", "an object", *options));
    } else if (!out.stream) {
      r.Fail(
          ParamError("stream_options", "invalid_value",
                     "The 'stream_options' parameter is only allowed when 'stream' is enabled."));
    } else {
      ParamReader inner(*options, "stream_options");
      out.include_usage = inner.Bool("include_usage", false);
      inner.Ignore("include_obfuscation");  // chunks are never padded here
      r.Fail(inner.Finish());
    }
  }
  out.user = r.Text("user", "", 512);
}

void ReadPriority(ParamReader& r, GenerationRequest& out) {
  out.priority_given = r.Get("priority") != nullptr;
  const std::string name = r.Text("priority", "normal", 16);
  int32_t priority = 0;
  if (identity::ParsePriority(name, priority)) return out.submit.set_priority(priority);
  r.Fail(ParamError("priority", "invalid_value",
                    "Invalid value for 'priority': expected 'low', 'normal' or 'high'."));
}

void SetMaxTokens(GenerationRequest& out, std::optional<int64_t> given, int64_t fallback) {
  out.max_tokens_given = given.has_value();
  out.submit.mutable_sampling()->set_max_tokens(static_cast<uint32_t>(given.value_or(fallback)));
}

absl::Status CheckMinTokens(const GenerationRequest& request) {
  const v1::SamplingParams& s = request.submit.sampling();
  if (s.min_tokens() <= s.max_tokens()) return absl::OkStatus();
  return ParamError("min_tokens", "invalid_value",
                    fmt::format("Invalid 'min_tokens': {} is more than 'max_tokens', {}.",
                                s.min_tokens(), s.max_tokens()));
}

absl::StatusOr<GenerationRequest> ParseChatRequest(const json& body, const RequestLimits& limits) {
  WEFT_RETURN_IF_ERROR(NeedObject(body));
  GenerationRequest out;
  out.kind = ApiKind::kChat;
  ParamReader r(body, "");
  out.submit.set_model(r.RequiredText("model", kMaxModelName));
  ReadSampling(r, limits, out);
  const auto newer = r.OptionalInteger("max_completion_tokens", 1, kMaxTokens);
  const auto older = r.OptionalInteger("max_tokens", 1, kMaxTokens);
  if (newer && older) {
    r.Fail(ParamError("max_tokens", "invalid_value",
                      "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                      "supported."));
  }
  SetMaxTokens(out, newer ? newer : older, kMaxTokens);
  out.show_logprobs = r.Bool("logprobs", false);
  out.submit.mutable_sampling()->set_logprobs(out.show_logprobs);
  out.submit.mutable_sampling()->set_top_logprobs(
      static_cast<uint32_t>(r.Integer("top_logprobs", 0, 0, 20)));
  if (out.submit.sampling().top_logprobs() > 0 && !out.submit.sampling().logprobs()) {
    r.Fail(ParamError("top_logprobs", "invalid_value",
                      "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."));
  }
  ReadChatExtras(r, out);
  const json* messages = r.Get("messages");
  if (messages == nullptr) {
    r.Fail(MissingParam("messages"));
  } else if (!messages->is_array()) {
    r.Fail(r.WrongType("messages", "an array of objects", *messages));
  } else if (messages->empty()) {
    r.Fail(
        ParamError("messages", "empty_array",
                   "Invalid 'messages': empty array. Expected an array with minimum length 1, but "
                   "got an empty array instead."));
  } else if (messages->size() > kMaxMessages) {
    r.Fail(
        ParamError("messages", "array_above_max_length",
                   fmt::format("Invalid 'messages': array too long. Expected an array with maximum "
                               "length {}, but got an array with length {} instead.",
                               kMaxMessages, messages->size())));
  }
  WEFT_RETURN_IF_ERROR(r.Finish());
  auto left = static_cast<uint64_t>(limits.max_prompt_characters);
  for (size_t i = 0; i < messages->size(); ++i) {
    v1::ChatMessage& message = *out.submit.mutable_chat()->add_messages();
    absl::Status status;
    ReadMessage((*messages)[i], i, message, status);
    WEFT_RETURN_IF_ERROR(status);
    WEFT_RETURN_IF_ERROR(LimitPrompt(left, limits, "messages", *message.mutable_content(), out));
    left -= std::min(left, scan::CountCharacters(message.content()));
  }
  WEFT_RETURN_IF_ERROR(CheckMinTokens(out));
  return out;
}

absl::Status BoundPriority(const RequestLimits& limits, const identity::Principal* principal,
                           GenerationRequest& request) {
  const bool admin = principal != nullptr && principal->role == identity::Role::kAdmin;
  int32_t most = admin ? identity::kHighestPriority : limits.developer_priority;
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
        if (message.role() == "developer") message.set_role("system");
        if (!IsRole(message.role())) {
          return WithField(
              InvalidArgument("chat.messages.role: must be system, developer, user, assistant or "
                              "tool"),
              "chat.messages.role");
        }
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
