// /v1/chat/completions: messages, and what only chat takes.
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/status.h"
#include "libs/scan/policy.h"
#include "services/gateway/api_error.h"
#include "services/gateway/param_reader.h"
#include "services/gateway/request_params.h"

namespace weft::gateway {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessages = 2048;

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

void ReadMessage(const json& message, size_t index, v1::ChatMessage& out, absl::Status& status) {
  const std::string path = fmt::format("messages[{}]", index);
  if (!message.is_object()) {
    status = ParamError(path, "invalid_type",
                        fmt::format("Invalid type for '{}': expected an object.", path));
    return;
  }
  ParamReader r(message, path);
  const std::string given = r.RequiredText("role", 64);
  const std::string_view role = TemplateRole(given);
  if (r.ok() && role.empty()) {
    r.Fail(ParamError(path + ".role", "invalid_value",
                      fmt::format("Invalid value for '{}.role': expected one of 'system', "
                                  "'developer', 'user', 'assistant', 'tool' and 'function'.",
                                  path)));
  }
  out.set_role(std::string(role));
  const bool function = given == "function";  // the tool's name stands for tool_call_id
  out.set_name(function ? r.RequiredText("name", kMaxNameBytes)
                        : r.Text("name", "", kMaxNameBytes));
  if (given == "tool") r.RequiredText("tool_call_id", 256);
  r.Refuse("tool_calls", "is not supported by this server's models");
  r.Refuse("function_call", "is not supported by this server's models");
  r.Refuse("audio", "is not supported by this server's models");
  r.Ignore("refusal");
  r.Ignore("annotations");  // so that an answer may be sent back as it came
  if (const json* content = r.Get("content")) {
    out.set_content(ReadContent(r, *content));
  } else if (!function || !message.contains("content")) {  // null: a function that answers nothing
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
    out.show_service_tier = true;
    if (*tier == "flex" || *tier == "priority" || *tier == "fast") {
      if (!std::exchange(out.priority_given, true)) {
        out.submit.set_priority(*tier == "flex" ? -1 : 1);
      }
    } else if (*tier != "auto" && *tier != "default") {
      r.Fail(UnsupportedParam(
          "service_tier", "is supported as 'auto', 'default', 'flex', 'priority' and 'fast' only"));
    }
  }
  for (const char* name : {"metadata", "safety_identifier", "prompt_cache_key"}) r.Ignore(name);
}

}  // namespace

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

}  // namespace weft::gateway
