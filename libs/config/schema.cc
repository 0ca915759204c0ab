#include "libs/config/schema.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>

#include "libs/base/status.h"

namespace weft::config {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr size_t kMaxErrors = 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return NotFound("{}: cannot open the configuration file", path);
  std::string text(kMaxFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.fail() && !in.eof())) {
    return Unavailable("{}: cannot read the configuration file", path);
  }
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

// A value from one line of text. Lists may be written "a,b" or "[a, b]", maps "{k: v}".
absl::StatusOr<Value> FromText(const Key& key, const std::string& text, const std::string& origin) {
  Value value;
  value.origin = std::make_shared<const std::string>(origin);
  if (!key.composite) {
    value.kind = Value::Kind::kScalar;
    value.scalar = text;
    return value;
  }
  if (!text.empty() && (text.front() == '[' || text.front() == '{')) {
    WEFT_ASSIGN_OR_RETURN(Value parsed, ParseYaml(text, origin));
    return parsed;
  }
  value.kind = Value::Kind::kList;
  size_t begin = 0;
  while (begin <= text.size() && !text.empty()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    Value item;
    item.kind = Value::Kind::kScalar;
    item.origin = value.origin;
    item.scalar = text.substr(begin, comma - begin);
    value.list.push_back(std::move(item));
    begin = comma + 1;
  }
  return value;
}

// Kubernetes gives every pod WEFT_GATEWAY_SERVICE_HOST, WEFT_GATEWAY_PORT_8080_TCP and so on for a
// Service called weft-gateway. They look like keys of a section and are none.
bool IsServiceLink(std::string_view rest) {
  if (rest == "SERVICE_HOST" || rest == "PORT" || rest.starts_with("SERVICE_PORT")) return true;
  return rest.starts_with("PORT_") && rest.size() > 5 &&
         std::isdigit(static_cast<unsigned char>(rest[5])) != 0;
}

std::string Upper(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool word = std::isalnum(static_cast<unsigned char>(c)) != 0;
    out += word ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
  }
  return out;
}

std::string Cell(std::string text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string DefaultCell(const Value& value) {
  std::string text;
  switch (value.kind) {
    case Value::Kind::kScalar:
      text = value.scalar;
      break;
    case Value::Kind::kList: {
      std::vector<std::string> items;
      for (const Value& item : value.list) {
        items.push_back(item.kind == Value::Kind::kScalar ? item.scalar : "{…}");
      }
      text = fmt::format("[{}]", fmt::join(items, ", "));
      break;
    }
    case Value::Kind::kMap:
      text = value.map.empty() ? "{}" : "{…}";
      break;
    case Value::Kind::kNull:
      break;
  }
  return text.empty() ? "" : fmt::format("`{}`", Cell(text));
}

std::string Row(const Key& key, bool element) {
  return fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", key.path, key.type,
                     key.secret ? "" : DefaultCell(key.get()), Cell(key.range),
                     element ? "" : fmt::format("`{}`", Schema::EnvironmentName(key.path)),
                     Cell(key.help));
}

}  // namespace

const std::vector<std::string>& KnownSections() {
  static const std::vector<std::string> sections = {"gateway", "scheduler", "worker",
                                                    "scanner", "collector", "telemetry"};
  return sections;
}

std::vector<std::pair<std::string, std::string>> ProcessEnvironment() {
  std::vector<std::pair<std::string, std::string>> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    out.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

void Schema::Section(std::string name, std::string help, const std::function<void(Binder&)>& bind) {
  Binder binder(name);
  bind(binder);
  std::map<std::string, std::string> names;
  for (const Key& key : binder.keys()) {
    // Two keys under one variable name could not both be set: a mistake in the declaration.
    WEFT_CHECK(names.emplace(EnvironmentName(key.path), key.path).second);
  }
  parts_.push_back({std::move(name), std::move(help), std::move(binder)});
}

std::string Schema::EnvironmentName(std::string_view path) { return "WEFT_" + Upper(path); }

const Key* Schema::FindKey(std::string_view path) const {
  for (const Part& part : parts_) {
    for (const Key& key : part.binder.keys()) {
      if (key.path == path) return &key;
    }
  }
  return nullptr;
}

absl::Status Schema::Load(const Sources& sources) {
  std::vector<std::string> errors;
  if (!sources.file.empty() || sources.text) {
    std::string text;
    if (sources.text) {
      text = *sources.text;
    } else {
      WEFT_ASSIGN_OR_RETURN(text, ReadFile(sources.file));
    }
    WEFT_ASSIGN_OR_RETURN(const Value root, ParseYaml(text, sources.file));
    ApplyFile(root, errors);
  }
  ApplyEnvironment(sources, errors);
  for (const std::string& set : sources.sets) ApplySet(set, errors);
  if (errors.empty()) return absl::OkStatus();
  if (errors.size() > kMaxErrors) {
    const size_t more = errors.size() - kMaxErrors;
    errors.resize(kMaxErrors);
    errors.push_back(fmt::format("and {} more errors", more));
  }
  return InvalidArgument("{}", fmt::join(errors, "\n"));
}

void Schema::ApplyFile(const Value& root, std::vector<std::string>& errors) const {
  if (root.kind != Value::Kind::kMap) {
    errors.emplace_back(Message(ErrorAt(root, "expected sections, got " + root.Describe())));
    return;
  }
  for (const Value::Entry& entry : root.map) {
    const auto part = std::find_if(parts_.begin(), parts_.end(),
                                   [&](const Part& p) { return p.name == entry.key; });
    if (part != parts_.end()) {
      part->binder.Apply(entry.value, errors);
      continue;
    }
    std::vector<std::string> known = KnownSections();
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    const std::string nearest = Nearest(entry.key, known);
    Value place = entry.value;
    if (entry.line > 0) place.line = entry.line;
    const std::string hint = nearest.empty()
                                 ? fmt::format("; the sections are {}", fmt::join(known, ", "))
                                 : fmt::format("; did you mean '{}'?", nearest);
    errors.emplace_back(Message(
        ErrorAt(place, fmt::format("{}: unknown section{}", entry.key.substr(0, 200), hint))));
  }
}

void Schema::ApplyEnvironment(const Sources& sources, std::vector<std::string>& errors) const {
  for (const auto& [name, text] : sources.environment) {
    for (const Part& part : parts_) {
      const std::string prefix = EnvironmentName(part.name) + "_";
      if (!name.starts_with(prefix)) continue;
      const auto& keys = part.binder.keys();
      const auto key = std::find_if(keys.begin(), keys.end(), [&, &name = name](const Key& k) {
        return EnvironmentName(k.path) == name;
      });
      const std::string origin = "environment " + name;
      if (key == keys.end()) {
        if (IsServiceLink(std::string_view(name).substr(prefix.size()))) continue;
        std::vector<std::string> known;
        for (const Key& k : keys) known.push_back(EnvironmentName(k.path));
        const std::string nearest = Nearest(name, known);
        errors.push_back(fmt::format(
            "{}: no such key{}", origin,
            nearest.empty() ? std::string() : fmt::format("; did you mean {}?", nearest)));
        continue;
      }
      const auto value = FromText(*key, text, origin);
      const absl::Status status = value.ok() ? key->set(*value) : value.status();
      if (!status.ok()) errors.emplace_back(Message(status));
    }
  }
}

void Schema::ApplySet(const std::string& set, std::vector<std::string>& errors) const {
  const size_t equals = set.find('=');
  const std::string path = set.substr(0, equals);
  const std::string origin = "--set " + path;
  if (equals == std::string::npos) {
    errors.push_back(fmt::format("{}: expected section.key=value", origin));
    return;
  }
  const Key* key = FindKey(path);
  if (key == nullptr) {
    std::vector<std::string> known;
    for (const Part& part : parts_) {
      for (const Key& k : part.binder.keys()) known.push_back(k.path);
    }
    const std::string nearest = Nearest(path, known);
    errors.push_back(fmt::format(
        "{}: no such key{}", origin,
        nearest.empty() ? std::string() : fmt::format("; did you mean '{}'?", nearest)));
    return;
  }
  const auto value = FromText(*key, set.substr(equals + 1), origin);
  const absl::Status status = value.ok() ? key->set(*value) : value.status();
  if (!status.ok()) errors.emplace_back(Message(status));
}

std::string Schema::EffectiveYaml() const {
  Value root;
  root.kind = Value::Kind::kMap;
  for (const Part& part : parts_) root.map.push_back({part.name, 0, part.binder.Effective()});
  return ToYaml(root);
}

std::string Schema::Reference() const {
  std::string out;
  for (const Part& part : parts_) {
    out += fmt::format("## `{}`\n\n{}\n\n", part.name, part.help);
    for (const auto& [path, help] : part.binder.sections()) {
      out += fmt::format("- `{}`: {}\n", path, help);
    }
    if (!part.binder.sections().empty()) out += "\n";
    out += "| Key | Type | Default | Range | Environment | Meaning |\n|---|---|---|---|---|---|\n";
    for (const Key& key : part.binder.keys()) {
      out += Row(key, false);
      for (const Key& element : part.binder.element_keys()) {
        if (element.path.starts_with(key.path + "[].")) out += Row(element, true);
      }
    }
    out += "\n";
  }
  return out;
}

}  // namespace weft::config
