// JSON as a hostile client, or a file from anywhere, may hold it.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace weft {

struct JsonLimits {
  size_t depth = 64;
  size_t values = 1'000'000;
};

// INVALID_ARGUMENT, with the byte offset, for text that is not one JSON value, is not UTF-8, nests
// too deeply, holds too many values, or has an object with the same key twice (two readers could
// then see two different requests; the message names the key). Never throws.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, JsonLimits limits = {});

}  // namespace weft
