// Typed reading of a configuration in JSON.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"

namespace weft {

// Reads the keys of one object and remembers the first error, so that a list of keys reads as a
// list. null counts as absent, as it does in Python's configurations. Errors name file and key.
class JsonReader {
 public:
  // `where` is "config.json" or "config.json: rope_scaling". The object outlives the reader.
  JsonReader(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const nlohmann::json* Find(std::string_view key) const {
    const auto it = object_.find(std::string(key));
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // Without a fallback the key must be there. 0 after an error.
  int32_t Count(std::string_view key, int32_t low, int32_t high,
                std::optional<int32_t> fallback = std::nullopt);
  float Real(std::string_view key, std::optional<float> fallback = std::nullopt);
  bool Flag(std::string_view key, bool fallback);
  std::string Text(std::string_view key, std::string_view fallback = "");
  std::vector<float> Reals(std::string_view key, size_t most);
  std::vector<int32_t> Counts(std::string_view key, size_t most);
  std::vector<std::string> Texts(std::string_view key, size_t most);

  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Required(std::string_view key);
  void WrongType(std::string_view key, std::string_view wanted, const nlohmann::json& found);
  const nlohmann::json* Array(std::string_view key, size_t most);

  const nlohmann::json& object_;
  std::string where_;
  absl::Status status_;
};

}  // namespace weft
