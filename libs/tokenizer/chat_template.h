// Chat templates: the Jinja templates that models carry in tokenizer.chat_template, rendered the
// way transformers' apply_chat_template does it (trim_blocks, lstrip_blocks, loop controls).
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "libs/tokenizer/marked_text.h"

namespace weft {

class Clock;
namespace jinja {
struct Template;
}

// What one template may cost. Exceeding a limit is RESOURCE_EXHAUSTED naming the template line.
struct ChatTemplateLimits {
  uint64_t max_template_bytes = 256u << 10;
  uint64_t max_steps = 1'000'000;              // evaluated nodes and loop iterations
  uint64_t max_produced_bytes = 128ull << 20;  // all strings and lists made on the way
  uint64_t max_output_bytes = 64ull << 20;
  uint32_t max_depth = 200;      // nesting of expressions, blocks, calls and values
  uint64_t max_range = 100'000;  // elements of range()
};

struct ChatRenderOptions {
  // Arrays and objects keep the order of their keys, which `tojson` shows: parse requests with
  // nlohmann::ordered_json. Null pointers are undefined variables in the template.
  const nlohmann::ordered_json* tools = nullptr;
  const nlohmann::ordered_json* documents = nullptr;
  const nlohmann::ordered_json* extra =
      nullptr;  // an object: more variables (chat_template_kwargs)
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
  const Clock* clock = nullptr;  // of strftime_now, in UTC; null is the real clock
};

// Immutable, thread safe, cheap to copy.
class ChatTemplate {
 public:
  // INVALID_ARGUMENT names the line of the template.
  static absl::StatusOr<ChatTemplate> Parse(std::string_view jinja,
                                            const ChatTemplateLimits& limits = {});

  // The text with the marks of what came from `messages` and the other values of the caller,
  // however the template cut, changed and joined it: what Tokenizer::Encode must take literally.
  // (Not of the caller: a message's role when it is one of the words that chat formats know.)
  // INVALID_ARGUMENT: what the template raised (raise_exception) or an operation that failed, with
  // the template's line. RESOURCE_EXHAUSTED: a limit.
  absl::StatusOr<MarkedText> RenderMarked(const nlohmann::ordered_json& messages,
                                          const ChatRenderOptions& options) const;
  // The text alone, to be shown.
  absl::StatusOr<std::string> Render(const nlohmann::ordered_json& messages,
                                     const ChatRenderOptions& options) const;
  // The same; keys of objects are then in alphabetical order.
  absl::StatusOr<std::string> Render(const nlohmann::json& messages,
                                     const ChatRenderOptions& options) const;
  // Any template with any variables (`weftctl render`, tests). `variables` is an object.
  absl::StatusOr<std::string> RenderWith(const nlohmann::ordered_json& variables,
                                         const Clock* clock = nullptr) const;

 private:
  explicit ChatTemplate(std::shared_ptr<const jinja::Template> parsed, ChatTemplateLimits limits);
  std::shared_ptr<const jinja::Template> template_;
  ChatTemplateLimits limits_;
};

}  // namespace weft
