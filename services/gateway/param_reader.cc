#include "services/gateway/param_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"
#include "services/gateway/api_error.h"

namespace weft::gateway {
namespace {

using nlohmann::json;

std::string_view TypeName(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::boolean:
      return "a boolean";
    case json::value_t::string:
      return "a string";
    case json::value_t::array:
      return "an array";
    case json::value_t::object:
      return "an object";
    case json::value_t::number_float:
      return "a decimal number";
    default:
      return "an integer";
  }
}

// 2 for 2.0, 0.5 for 0.5.
std::string Show(double value) { return fmt::format("{:g}", value); }

}  // namespace

ParamReader::ParamReader(const json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

std::string ParamReader::PathOf(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void ParamReader::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

const json* ParamReader::Get(std::string_view name) {
  known_.emplace(name);
  const auto it = object_.find(name);
  if (it == object_.end() || it->is_null()) return nullptr;
  return &*it;
}

absl::Status ParamReader::WrongType(std::string_view name, std::string_view expected,
                                    const json& value) const {
  const std::string path = PathOf(name);
  return ParamError(path, "invalid_type",
                    fmt::format("Invalid type for '{}': expected {}, but got {} instead.", path,
                                expected, TypeName(value)));
}

bool ParamReader::Bool(std::string_view name, bool fallback) {
  const json* value = Get(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(WrongType(name, "a boolean", *value));
    return fallback;
  }
  return value->get<bool>();
}

double ParamReader::CheckedNumber(std::string_view name, double fallback, double min, double max,
                                  bool exclusive) {
  const json* value = Get(name);
  if (value == nullptr) return fallback;
  if (!value->is_number()) {
    Fail(WrongType(name, "a decimal", *value));
    return fallback;
  }
  const double number = value->get<double>();
  const std::string path = PathOf(name);
  if (!std::isfinite(number) || number > max) {
    Fail(
        ParamError(path, "decimal_above_max_value",
                   fmt::format("Invalid '{}': decimal above maximum value. Expected a value <= {}, "
                               "but got {} instead.",
                               path, Show(max), Show(number))));
    return fallback;
  }
  if (number < min || (exclusive && number == min)) {
    Fail(
        ParamError(path, "decimal_below_min_value",
                   fmt::format("Invalid '{}': decimal below minimum value. Expected a value {} {}, "
                               "but got {} instead.",
                               path, exclusive ? ">" : ">=", Show(min), Show(number))));
    return fallback;
  }
  return number;
}

double ParamReader::Number(std::string_view name, double fallback, double min, double max) {
  return CheckedNumber(name, fallback, min, max, false);
}

double ParamReader::NumberAbove(std::string_view name, double fallback, double min, double max) {
  return CheckedNumber(name, fallback, min, max, true);
}

std::optional<int64_t> ParamReader::OptionalInteger(std::string_view name, int64_t min,
                                                    int64_t max) {
  const json* value = Get(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer()) {
    Fail(WrongType(name, "an integer", *value));
    return std::nullopt;
  }
  const std::string path = PathOf(name);
  // Unsigned values beyond int64 would wrap.
  const bool huge =
      value->is_number_unsigned() &&
      value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const int64_t number = huge ? std::numeric_limits<int64_t>::max() : value->get<int64_t>();
  if (huge || number > max) {
    Fail(
        ParamError(path, "integer_above_max_value",
                   fmt::format("Invalid '{}': integer above maximum value. Expected a value <= {}, "
                               "but got {} instead.",
                               path, max, value->dump())));
    return std::nullopt;
  }
  if (number < min) {
    Fail(
        ParamError(path, "integer_below_min_value",
                   fmt::format("Invalid '{}': integer below minimum value. Expected a value >= {}, "
                               "but got {} instead.",
                               path, min, number)));
    return std::nullopt;
  }
  return number;
}

int64_t ParamReader::Integer(std::string_view name, int64_t fallback, int64_t min, int64_t max) {
  return OptionalInteger(name, min, max).value_or(fallback);
}

std::string ParamReader::Text(std::string_view name, std::string_view fallback, size_t max_bytes) {
  const json* value = Get(name);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    Fail(WrongType(name, "a string", *value));
    return std::string(fallback);
  }
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    const std::string path = PathOf(name);
    Fail(ParamError(path, "string_above_max_length",
                    fmt::format("Invalid '{}': string too long. Expected a string with at most {} "
                                "bytes, but got one with {}.",
                                path, max_bytes, text.size())));
    return std::string(fallback);
  }
  return text;
}

std::string ParamReader::RequiredText(std::string_view name, size_t max_bytes) {
  if (Get(name) == nullptr) {
    Fail(MissingParam(PathOf(name)));
    return {};
  }
  return Text(name, {}, max_bytes);
}

std::vector<std::string> ParamReader::Texts(std::string_view name, size_t max_items,
                                            size_t max_bytes) {
  const json* list = Get(name);
  std::vector<std::string> texts;
  if (list == nullptr || !ok()) return texts;
  if (!list->is_array()) {
    Fail(WrongType(name, "an array of strings", *list));
    return texts;
  }
  if (list->size() > max_items) {
    Fail(ParamError(
        PathOf(name), "array_above_max_length",
        fmt::format("Invalid '{}': too many items, at most {}.", PathOf(name), max_items)));
    return texts;
  }
  for (const json& one : *list) {
    if (!one.is_string() || one.get_ref<const std::string&>().size() > max_bytes) {
      Fail(ParamError(PathOf(name), "invalid_type",
                      fmt::format("Invalid '{}': expected strings of at most {} bytes.",
                                  PathOf(name), max_bytes)));
      return {};
    }
    texts.push_back(one.get<std::string>());
  }
  return texts;
}

void ParamReader::Refuse(std::string_view name, std::string_view why) {
  if (Get(name) != nullptr) Fail(UnsupportedParam(PathOf(name), why));
}

void ParamReader::Ignore(std::string_view name) { Get(name); }

absl::Status ParamReader::Finish() {
  if (!status_.ok()) return status_;
  if (ignore_rest_) return absl::OkStatus();
  for (const auto& [name, value] : object_.items()) {
    if (!known_.contains(name)) return UnknownParam(PathOf(name), /*nested=*/PathOf(name) != name);
  }
  return absl::OkStatus();
}

}  // namespace weft::gateway
