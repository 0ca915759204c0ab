// Any text as config.json, as generation_config.json and as the name of a tensor: refused with a
// message, or a configuration within its bounds.
#include <cstddef>
#include <cstdint>

#include "libs/base/status.h"
#include "libs/model/hf_config.h"
#include "libs/model/hf_names.h"

namespace {

constexpr std::string_view kLlama =
    R"({"model_type":"llama","hidden_size":64,"intermediate_size":64,"num_hidden_layers":2,)"
    R"("num_attention_heads":4,"vocab_size":300,"max_position_embeddings":512})";

void Check(const absl::StatusOr<weft::HfConfig>& config) {
  if (!config.ok()) {
    WEFT_CHECK(!config.status().message().empty());
    return;
  }
  WEFT_CHECK(config->model.Validate().ok());
  for (const int32_t id : config->model.eos_ids) WEFT_CHECK(id >= 0 && id < config->model.vocab);
  for (int32_t i = 0; i < config->model.layers; ++i) {
    static_cast<void>(config->model.slides(i) || config->model.rotates(i));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Check(weft::ParseHfConfig(text, ""));
  Check(weft::ParseHfConfig(kLlama, text));
  for (int layout = 0; layout <= static_cast<int>(weft::HfLayout::kDeepSeek); ++layout) {
    const auto name = weft::TranslateHfName(text, static_cast<weft::HfLayout>(layout), 12, 8);
    if (!name.has_value()) continue;
    WEFT_CHECK(name->expert < 8);
    WEFT_CHECK(name->gguf.empty() == (name->action == weft::HfAction::kIgnore));
  }
  return 0;
}
