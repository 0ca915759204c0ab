#include "libs/model/hf_json.h"

#include <cmath>

namespace weft {

using nlohmann::json;

const json* JsonReader::Required(std::string_view key) {
  const json* value = Find(key);
  if (value == nullptr) Fail(InvalidArgument("{}: key '{}' is missing", where_, key));
  return value;
}

void JsonReader::WrongType(std::string_view key, std::string_view wanted, const json& found) {
  Fail(InvalidArgument("{}: {}: expected {}, found {}", where_, key, wanted, found.type_name()));
}

int32_t JsonReader::Count(std::string_view key, int32_t low, int32_t high,
                          std::optional<int32_t> fallback) {
  if (fallback.has_value() && !Has(key)) return *fallback;
  const json* value = Required(key);
  if (value == nullptr) return 0;
  const bool fits = value->is_number_unsigned()
                        ? value->get<uint64_t>() <= static_cast<uint64_t>(INT32_MAX)
                        : value->is_number_integer() && value->get<int64_t>() >= INT32_MIN;
  if (!value->is_number_integer()) {
    WrongType(key, "a whole number", *value);
    return 0;
  }
  if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    Fail(InvalidArgument("{}: {}: expected a value in [{}, {}], found {}", where_, key, low, high,
                         value->dump()));
    return 0;
  }
  return value->get<int32_t>();
}

float JsonReader::Real(std::string_view key, std::optional<float> fallback) {
  if (fallback.has_value() && !Has(key)) return *fallback;
  const json* value = Required(key);
  if (value == nullptr) return 0;
  if (!value->is_number()) {
    WrongType(key, "a number", *value);
    return 0;
  }
  const auto number = value->get<double>();
  if (!(std::abs(number) <= 1e30)) {
    Fail(InvalidArgument("{}: {}: {} is out of range", where_, key, value->dump()));
    return 0;
  }
  return static_cast<float>(number);
}

bool JsonReader::Flag(std::string_view key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    WrongType(key, "true or false", *value);
    return fallback;
  }
  return value->get<bool>();
}

std::string JsonReader::Text(std::string_view key, std::string_view fallback) {
  const json* value = Find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    WrongType(key, "a string", *value);
    return std::string(fallback);
  }
  return value->get<std::string>();
}

const json* JsonReader::Array(std::string_view key, size_t most) {
  const json* value = Find(key);
  if (value == nullptr) return nullptr;
  if (!value->is_array() || value->size() > most) {
    Fail(InvalidArgument("{}: {}: expected an array of at most {} values", where_, key, most));
    return nullptr;
  }
  return value;
}

std::vector<float> JsonReader::Reals(std::string_view key, size_t most) {
  std::vector<float> out;
  const json* array = Array(key, most);
  if (array == nullptr) return out;
  for (const json& value : *array) {
    if (!value.is_number()) {
      WrongType(key, "an array of numbers", value);
      return {};
    }
    out.push_back(static_cast<float>(value.get<double>()));
  }
  return out;
}

std::vector<int32_t> JsonReader::Counts(std::string_view key, size_t most) {
  std::vector<int32_t> out;
  const json* array = Array(key, most);
  if (array == nullptr) return out;
  for (const json& value : *array) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX) {
      Fail(InvalidArgument("{}: {}: expected whole numbers that are not negative, found {}", where_,
                           key, value.type_name()));
      return {};
    }
    out.push_back(value.get<int32_t>());
  }
  return out;
}

std::vector<std::string> JsonReader::Texts(std::string_view key, size_t most) {
  std::vector<std::string> out;
  const json* array = Array(key, most);
  if (array == nullptr) return out;
  for (const json& value : *array) {
    if (!value.is_string()) {
      WrongType(key, "an array of strings", value);
      return {};
    }
    out.push_back(value.get<std::string>());
  }
  return out;
}

}  // namespace weft
