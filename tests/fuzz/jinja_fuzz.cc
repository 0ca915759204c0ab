// Any text as a chat template: it is refused or renders within its limits.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* messages = new nlohmann::ordered_json(nlohmann::ordered_json::parse(R"([
    {"role": "system", "content": "Be brief. "},
    {"role": "user", "content": "naïve 日本 😀\n", "n": [1, -2.5, null, true]},
    {"role": "Q", "content": "Q ZQé<|QZ|>\nQ", "QZ": ["Q", {"Q": "Z"}]},
    {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
  ])"));
  static const auto* clock = new weft::FakeClock();
  weft::ChatTemplateLimits limits;
  limits.max_steps = 20'000;
  limits.max_produced_bytes = 1 << 20;
  limits.max_output_bytes = 1 << 18;
  limits.max_range = 1000;
  limits.max_depth = 60;
  const auto chat = weft::ChatTemplate::Parse({reinterpret_cast<const char*>(data), size}, limits);
  if (!chat.ok()) {
    WEFT_CHECK(weft::Message(chat.status()).find("template ") != std::string_view::npos);
    return 0;
  }
  weft::ChatRenderOptions options;
  options.tools = messages;
  options.bos_token = "<s>";
  options.clock = clock;
  const auto out = chat->Render(*messages, options);
  if (out.ok()) {
    WEFT_CHECK(out->size() <= limits.max_output_bytes);
    const auto again = chat->Render(*messages, options);
    WEFT_CHECK(again.ok() && *again == *out);
    // A letter that only the messages have is the caller's wherever it ends up.
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    if (source.find_first_of("Qq") == std::string_view::npos) {
      const auto marked = chat->RenderMarked(*messages, options);
      WEFT_CHECK(marked.ok() && marked->text() == *out);
      marked->ForRuns([](std::string_view run, bool from_caller) {
        WEFT_CHECK(from_caller || run.find_first_of("Qq") == std::string_view::npos);
      });
    }
  } else {
    WEFT_CHECK(weft::Message(out.status()).find("template line ") == 0);
  }
  return 0;
}
