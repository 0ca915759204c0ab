// Any GGUF file: what inspection prints has no control characters but newlines, nothing that turns
// the direction of writing, only UTF-8; and its JSON parses.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "libs/base/status.h"
#include "libs/gguf/gguf.h"
#include "libs/model/gguf_source.h"
#include "services/weftctl/inspect.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      weft::GgufFile::FromBytes(std::string(reinterpret_cast<const char*>(data), size));
  if (!file.ok()) return 0;
  weft::ctl::InspectedModel model;
  model.path = "model.gguf";
  model.metadata = *file;
  model.tensors = std::make_shared<weft::GgufSource>(*file, false);
  model.config = weft::ModelConfig::FromGguf(**file);
  model.check = weft::ctl::CheckTensors(*model.tensors, {.threads = 1});
  const std::string text = weft::ctl::InspectionText(model, true);
  WEFT_CHECK(nlohmann::json::accept(nlohmann::json(text).dump()));  // dump refuses other than UTF-8
  for (size_t at = 0; at < text.size(); ++at) {
    const auto c = static_cast<unsigned char>(text[at]);
    WEFT_CHECK(c == '\n' || (c >= 0x20 && c != 0x7f));
    const std::string_view rest = std::string_view(text).substr(at);
    for (const char* turned : {"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202d", "\u202e",
                               "\u2066", "\u2067", "\u2068", "\u2069", "\u0085", "\u009b"}) {
      WEFT_CHECK(!rest.starts_with(turned));
    }
  }
  WEFT_CHECK(nlohmann::json::accept(weft::ctl::InspectionJson(model)));
  return 0;
}
