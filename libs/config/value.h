// A configuration value with the place it came from. The only form in which YAML leaves yaml.cc.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::config {

struct Value {
  enum class Kind { kNull, kScalar, kList, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  std::string scalar;
  bool quoted = false;  // the scalar was written in quotes: it is text, never a number
  std::vector<Value> list;
  std::vector<Entry> map;  // in the order of the file, keys unique

  std::shared_ptr<const std::string> origin;  // "weft.yaml", "environment WEFT_WORKER_DEVICE"
  int line = 0;                               // 0: the origin has no lines

  std::string Where() const;     // "weft.yaml:12"
  std::string Describe() const;  // "a list", "the text \"abc\"": for error messages
  const Value* Find(std::string_view key) const;
};

struct Value::Entry {
  std::string key;
  int line = 0;
  Value value;
};

// INVALID_ARGUMENT that begins with the value's place.
absl::Status ErrorAt(const Value& value, std::string_view message);

struct YamlLimits {
  size_t bytes = 1 << 20;
  size_t nodes = 100'000;
  int depth = 32;
};

// One YAML document. Refused with file:line: duplicate keys, aliases and merge keys (they hide
// where a value comes from, and expand without bound), keys that are not plain text, more than one
// document, and anything beyond the limits. Empty text is an empty map.
absl::StatusOr<Value> ParseYaml(std::string_view text, std::string origin, YamlLimits limits = {});

// Writes a value as block YAML. `indent` is in columns.
std::string ToYaml(const Value& value, int indent = 0);

}  // namespace weft::config
