// Any GGUF file: what inspection prints has no control characters but newlines, and its JSON
// parses.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

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
  for (const char c : weft::ctl::InspectionText(model, true)) {
    WEFT_CHECK(c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
  }
  WEFT_CHECK(nlohmann::json::accept(weft::ctl::InspectionJson(model)));
  return 0;
}
