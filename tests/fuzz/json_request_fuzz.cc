// Request bodies as clients may send them, against the strict JSON reader: what it
// accepts must be UTF-8, must come back the same from its own text, and stays within the limits.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "libs/json/strict_json.h"

namespace {

size_t Depth(const nlohmann::json& value) {
  size_t deepest = 0;
  if (value.is_structured()) {
    for (const auto& child : value) deepest = std::max(deepest, Depth(child));
    return deepest + 1;
  }
  return 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = weft::ParseStrictJson(text, {.depth = 16, .values = 1000});
  if (!parsed.ok()) {
    if (parsed.status().message().empty()) std::abort();
    return 0;
  }
  if (Depth(*parsed) > 16) std::abort();
  const auto again = weft::ParseStrictJson(parsed->dump(), {.depth = 16, .values = 1000});
  if (!again.ok() || *again != *parsed) std::abort();
  return 0;
}
