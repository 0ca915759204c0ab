#include "libs/tokenizer/chat_template.h"

#include <nlohmann/json.hpp>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/tokenizer/jinja_ast.h"
#include "libs/tokenizer/jinja_interpreter.h"

namespace weft {
namespace {

absl::Status SetJson(jinja::Interpreter& in, std::string_view name,
                     const nlohmann::ordered_json& json, uint32_t max_depth) {
  if (!in.Uses(name)) return absl::OkStatus();
  jinja::Value value;
  // Half of the depth stays for what the template builds around it.
  if (!jinja::FromJson(json, max_depth / 2, value)) {
    return InvalidArgument("'{}' nests deeper than {} levels", name, max_depth / 2);
  }
  in.SetGlobal(name, std::move(value));
  return absl::OkStatus();
}

const Clock& ClockOr(const Clock* clock) { return clock != nullptr ? *clock : Clock::Real(); }

}  // namespace

ChatTemplate::ChatTemplate(std::shared_ptr<const jinja::Template> parsed, ChatTemplateLimits limits)
    : template_(std::move(parsed)), limits_(limits) {}

absl::StatusOr<ChatTemplate> ChatTemplate::Parse(std::string_view jinja,
                                                 const ChatTemplateLimits& limits) {
  if (jinja.size() > limits.max_template_bytes) {
    return InvalidArgument("the template has {} bytes, the limit is {}", jinja.size(),
                           limits.max_template_bytes);
  }
  WEFT_ASSIGN_OR_RETURN(std::shared_ptr<const jinja::Template> parsed,
                        jinja::ParseTemplate(jinja, limits.max_depth));
  return ChatTemplate(std::move(parsed), limits);
}

absl::StatusOr<MarkedText> ChatTemplate::RenderMarked(const nlohmann::ordered_json& messages,
                                                      const ChatRenderOptions& options) const {
  jinja::Interpreter in(*template_, limits_, ClockOr(options.clock));
  WEFT_RETURN_IF_ERROR(SetJson(in, "messages", messages, limits_.max_depth));
  // transformers passes None for these when the caller gives none.
  in.SetGlobal("tools", jinja::Value::None());
  in.SetGlobal("documents", jinja::Value::None());
  if (options.tools != nullptr) {
    WEFT_RETURN_IF_ERROR(SetJson(in, "tools", *options.tools, limits_.max_depth));
  }
  if (options.documents != nullptr) {
    WEFT_RETURN_IF_ERROR(SetJson(in, "documents", *options.documents, limits_.max_depth));
  }
  in.SetGlobal("add_generation_prompt", jinja::Value::Bool(options.add_generation_prompt));
  in.SetGlobal("bos_token", jinja::Value::Own(options.bos_token));
  in.SetGlobal("eos_token", jinja::Value::Own(options.eos_token));
  if (options.extra != nullptr) {
    if (!options.extra->is_object())
      return InvalidArgument("the template's variables are not an object");
    for (const auto& [name, value] : options.extra->items()) {
      WEFT_RETURN_IF_ERROR(SetJson(in, name, value, limits_.max_depth));
    }
  }
  return in.Run();
}

absl::StatusOr<std::string> ChatTemplate::Render(const nlohmann::ordered_json& messages,
                                                 const ChatRenderOptions& options) const {
  WEFT_ASSIGN_OR_RETURN(const MarkedText marked, RenderMarked(messages, options));
  return marked.text();
}

absl::StatusOr<std::string> ChatTemplate::Render(const nlohmann::json& messages,
                                                 const ChatRenderOptions& options) const {
  const nlohmann::ordered_json ordered = messages;
  return Render(ordered, options);
}

absl::StatusOr<std::string> ChatTemplate::RenderWith(const nlohmann::ordered_json& variables,
                                                     const Clock* clock) const {
  if (!variables.is_object()) return InvalidArgument("the template's variables are not an object");
  jinja::Interpreter in(*template_, limits_, ClockOr(clock));
  for (const auto& [name, value] : variables.items()) {
    WEFT_RETURN_IF_ERROR(SetJson(in, name, value, limits_.max_depth));
  }
  WEFT_ASSIGN_OR_RETURN(const MarkedText marked, in.Run());
  return marked.text();
}

}  // namespace weft
