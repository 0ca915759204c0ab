#include "libs/config/value.h"

#include "libs/base/status.h"

namespace weft::config {
namespace {

std::string Quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string ScalarToYaml(const Value& value) {
  return value.quoted ? Quote(value.scalar) : value.scalar;
}

bool IsPlainKey(std::string_view key) {
  if (key.empty() || key == "null") return false;
  for (const char c : key) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
    if (!plain) return false;
  }
  return key.front() != '-' && key.front() != '.';
}

}  // namespace

std::string Value::Where() const {
  const std::string& name = origin ? *origin : std::string("configuration");
  return line > 0 ? fmt::format("{}:{}", name, line) : name;
}

std::string Value::Describe() const {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a section";
    case Kind::kScalar:
      break;
  }
  constexpr size_t kShown = 60;
  const bool cut = scalar.size() > kShown;
  return fmt::format("{}{}{}", quoted ? "the text " : "", Quote(scalar.substr(0, kShown)),
                     cut ? " (cut)" : "");
}

const Value* Value::Find(std::string_view key) const {
  for (const Entry& entry : map) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

absl::Status ErrorAt(const Value& value, std::string_view message) {
  return InvalidArgument("{}: {}", value.Where(), message);
}

std::string ToYaml(const Value& value, int indent) {
  const std::string pad(static_cast<size_t>(indent), ' ');
  switch (value.kind) {
    case Value::Kind::kNull:
      return pad + "null\n";
    case Value::Kind::kScalar:
      return pad + ScalarToYaml(value) + "\n";
    case Value::Kind::kList: {
      if (value.list.empty()) return pad + "[]\n";
      std::string out;
      for (const Value& item : value.list) {
        std::string text = ToYaml(item, indent + 2);
        text.replace(static_cast<size_t>(indent), 2, "- ");
        out += text;
      }
      return out;
    }
    case Value::Kind::kMap: {
      if (value.map.empty()) return pad + "{}\n";
      std::string out;
      for (const Value::Entry& entry : value.map) {
        const std::string key = IsPlainKey(entry.key) ? entry.key : Quote(entry.key);
        const bool block = (entry.value.kind == Value::Kind::kList && !entry.value.list.empty()) ||
                           (entry.value.kind == Value::Kind::kMap && !entry.value.map.empty());
        out += pad + key + ":" + (block ? "\n" : " ");
        out += ToYaml(entry.value, block ? indent + 2 : 0);
      }
      return out;
    }
  }
  return {};
}

}  // namespace weft::config
