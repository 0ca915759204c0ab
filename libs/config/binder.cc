#include "libs/config/binder.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "libs/base/status.h"
#include "libs/config/units.h"

namespace weft::config {
namespace {

constexpr std::string_view kMask = "********";

Value TextValue(std::string text) {
  Value value;
  value.kind = Value::Kind::kScalar;
  value.quoted = true;
  value.scalar = std::move(text);
  return value;
}

Value PlainValue(std::string text) {
  Value value = TextValue(std::move(text));
  value.quoted = false;
  return value;
}

absl::Status Mismatch(const Value& value, const std::string& path, std::string_view expected) {
  return ErrorAt(value, fmt::format("{}: expected {}, got {}", path, expected, value.Describe()));
}

// "integer from 1 to 256"
std::string Wanted(std::string_view type, std::string_view range) {
  return range.empty() ? std::string(type) : fmt::format("{} from {}", type, range);
}

template <typename T>
bool ParseNumber(const std::string& text, T& out) {
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, out);
  return parsed.ec == std::errc() && parsed.ptr == end && !text.empty();
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// Puts `value` at the dotted `path` below `root`, making sections on the way.
void Place(Value& root, std::string_view path, Value value) {
  Value* at = &root;
  while (true) {
    at->kind = Value::Kind::kMap;
    const size_t dot = path.find('.');
    const std::string name(path.substr(0, dot));
    auto found = std::find_if(at->map.begin(), at->map.end(),
                              [&](const Value::Entry& e) { return e.key == name; });
    if (found == at->map.end()) found = at->map.insert(at->map.end(), {name, 0, Value{}});
    if (dot == std::string_view::npos) {
      found->value = std::move(value);
      return;
    }
    at = &found->value;
    path.remove_prefix(dot + 1);
  }
}

}  // namespace

std::string Nearest(std::string_view word, const std::vector<std::string>& names) {
  constexpr size_t kLongest = 64;  // the distance is quadratic, and the word comes from outside
  if (word.size() > kLongest) return {};
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : names) {
    const size_t distance = EditDistance(word, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

Key& Binder::Add(std::string_view name, std::string_view type, std::string range,
                 std::string_view help) {
  Key key;
  key.path = fmt::format("{}.{}", prefix_, name);
  key.type = type;
  key.range = std::move(range);
  key.help = help;
  for (const Key& other : keys_) WEFT_CHECK(other.path != key.path);
  return keys_.emplace_back(std::move(key));
}

void Binder::AddInt(std::string_view name, int64_t min, int64_t max, std::string_view help,
                    Access<int64_t> access) {
  Key& key = Add(name, "integer", fmt::format("{} to {}", min, max), help);
  key.get = [access] { return PlainValue(std::to_string(access.get())); };
  key.set = [=, path = key.path, range = key.range](const Value& value) -> absl::Status {
    int64_t number = 0;
    if (value.kind != Value::Kind::kScalar || value.quoted || !ParseNumber(value.scalar, number) ||
        number < min || number > max) {
      return Mismatch(value, path, Wanted("an integer", range));
    }
    access.set(number);
    return absl::OkStatus();
  };
}

void Binder::AddFloat(std::string_view name, double min, double max, std::string_view help,
                      Access<double> access) {
  Key& key = Add(name, "number", fmt::format("{:g} to {:g}", min, max), help);
  // Six digits: a float's 0.1 must not print as 0.10000000149.
  key.get = [access] { return PlainValue(fmt::format("{:.6g}", access.get())); };
  key.set = [=, path = key.path, range = key.range](const Value& value) -> absl::Status {
    double number = 0;
    if (value.kind != Value::Kind::kScalar || value.quoted || !ParseNumber(value.scalar, number) ||
        !std::isfinite(number) || number < min || number > max) {
      return Mismatch(value, path, Wanted("a number", range));
    }
    access.set(number);
    return absl::OkStatus();
  };
}

void Binder::Bool(std::string_view name, bool* field, std::string_view help) {
  Key& key = Add(name, "boolean", "true or false", help);
  key.get = [field] { return PlainValue(*field ? "true" : "false"); };
  key.set = [field, path = key.path](const Value& value) -> absl::Status {
    const bool is_true = value.scalar == "true";
    if (value.kind != Value::Kind::kScalar || value.quoted ||
        (!is_true && value.scalar != "false")) {
      return Mismatch(value, path, "true or false");
    }
    *field = is_true;
    return absl::OkStatus();
  };
}

void Binder::Text(std::string_view name, std::string* field, std::string_view help,
                  size_t min_length, size_t max_length) {
  Key& key = Add(name, "text", min_length > 0 ? "not empty" : "", help);
  key.get = [field] { return TextValue(*field); };
  key.set = [=, path = key.path](const Value& value) -> absl::Status {
    if (value.kind != Value::Kind::kScalar) return Mismatch(value, path, "text");
    const size_t size = value.scalar.size();
    if (size < min_length || size > max_length) {
      return ErrorAt(value, fmt::format("{}: expected text of {} to {} bytes, got {}", path,
                                        min_length, max_length, size));
    }
    *field = value.scalar;
    return absl::OkStatus();
  };
}

void Binder::TextShownAs(std::string_view name, std::string* field, std::string_view help,
                         std::function<std::string(const std::string&)> shown) {
  Text(name, field, help, 1);
  keys_.back().get = [field, shown = std::move(shown)] { return TextValue(shown(*field)); };
}

void Binder::Secret(std::string_view name, std::string* field, std::string_view help) {
  Key& key = Add(name, "secret text", "", help);
  key.secret = true;
  key.get = [field] { return TextValue(field->empty() ? "" : std::string(kMask)); };
  key.set = [field, path = key.path](const Value& value) -> absl::Status {
    constexpr size_t kMax = 65'536;
    if (value.kind != Value::Kind::kScalar || value.scalar.size() > kMax) {
      return ErrorAt(value, fmt::format("{}: expected text of at most {} bytes", path, kMax));
    }
    if (value.scalar == kMask) {
      return ErrorAt(value, fmt::format("{}: this is the mask of a printed configuration; give the "
                                        "secret itself",
                                        path));
    }
    *field = value.scalar;
    return absl::OkStatus();
  };
}

void Binder::AddChoice(std::string_view name, std::vector<std::string> names, std::string_view help,
                       Access<size_t> access) {
  Key& key = Add(name, "choice", fmt::format("{}", fmt::join(names, ", ")), help);
  key.get = [access, names] {
    const size_t index = access.get();
    return TextValue(index < names.size() ? names[index] : "");
  };
  key.set = [access, names, path = key.path, range = key.range](const Value& value) {
    const auto found = std::find(names.begin(), names.end(), value.scalar);
    if (value.kind != Value::Kind::kScalar || found == names.end()) {
      return Mismatch(value, path, fmt::format("one of: {}", range));
    }
    access.set(static_cast<size_t>(found - names.begin()));
    return absl::OkStatus();
  };
}

void Binder::AddDuration(std::string_view name, std::chrono::nanoseconds min,
                         std::chrono::nanoseconds max, std::chrono::nanoseconds resolution,
                         std::string_view help, Access<std::chrono::nanoseconds> access) {
  Key& key = Add(name, "duration",
                 fmt::format("{} to {}", FormatDuration(min), FormatDuration(max)), help);
  key.get = [access] { return PlainValue(FormatDuration(access.get())); };
  key.set = [=, path = key.path, range = key.range](const Value& value) -> absl::Status {
    const std::string wanted = Wanted("a duration", range);
    if (value.kind != Value::Kind::kScalar) return Mismatch(value, path, wanted);
    const auto parsed = ParseDuration(value.scalar);
    if (!parsed.ok()) {
      return ErrorAt(value,
                     fmt::format("{}: expected {}: {}", path, wanted, Message(parsed.status())));
    }
    if (*parsed < min || *parsed > max) return Mismatch(value, path, wanted);
    if (parsed->count() % resolution.count() != 0) {
      return ErrorAt(value, fmt::format("{}: finer than its resolution of {}", path,
                                        FormatDuration(resolution)));
    }
    access.set(*parsed);
    return absl::OkStatus();
  };
}

void Binder::Bytes(std::string_view name, uint64_t* field, uint64_t min, uint64_t max,
                   std::string_view help) {
  Key& key = Add(name, "size", fmt::format("{} to {}", FormatBytes(min), FormatBytes(max)), help);
  key.get = [field] { return PlainValue(FormatBytes(*field)); };
  key.set = [=, path = key.path, range = key.range](const Value& value) -> absl::Status {
    const std::string wanted = Wanted("a size", range);
    if (value.kind != Value::Kind::kScalar) return Mismatch(value, path, wanted);
    const auto parsed = ParseBytes(value.scalar);
    if (!parsed.ok()) {
      return ErrorAt(value,
                     fmt::format("{}: expected {}: {}", path, wanted, Message(parsed.status())));
    }
    if (*parsed < min || *parsed > max) return Mismatch(value, path, wanted);
    *field = *parsed;
    return absl::OkStatus();
  };
}

void Binder::List(std::string_view name, std::vector<std::string>* field, size_t max_items,
                  std::string_view help) {
  Key& key = Add(name, "list of text", fmt::format("at most {} items", max_items), help);
  key.composite = true;
  key.get = [field] {
    Value list;
    list.kind = Value::Kind::kList;
    for (const std::string& item : *field) list.list.push_back(TextValue(item));
    return list;
  };
  key.set = [=, path = key.path](const Value& value) -> absl::Status {
    if (value.kind != Value::Kind::kList) return Mismatch(value, path, "a list of text");
    if (value.list.size() > max_items) {
      return ErrorAt(value, fmt::format("{}: {} items, at most {} are allowed", path,
                                        value.list.size(), max_items));
    }
    std::vector<std::string> items;
    for (const Value& item : value.list) {
      if (item.kind != Value::Kind::kScalar) return Mismatch(item, path, "text in the list");
      items.push_back(item.scalar);
    }
    *field = std::move(items);
    return absl::OkStatus();
  };
}

void Binder::Map(std::string_view name, std::map<std::string, std::string>* field, size_t max_items,
                 std::string_view help) {
  Key& key = Add(name, "map of text", fmt::format("at most {} entries", max_items), help);
  key.composite = true;
  key.get = [field] {
    Value map;
    map.kind = Value::Kind::kMap;
    for (const auto& [name, text] : *field) map.map.push_back({name, 0, TextValue(text)});
    return map;
  };
  key.set = [=, path = key.path](const Value& value) -> absl::Status {
    if (value.kind != Value::Kind::kMap) return Mismatch(value, path, "a map of text");
    if (value.map.size() > max_items) {
      return ErrorAt(value, fmt::format("{}: {} entries, at most {} are allowed", path,
                                        value.map.size(), max_items));
    }
    std::map<std::string, std::string> entries;
    for (const Value::Entry& entry : value.map) {
      if (entry.value.kind != Value::Kind::kScalar) {
        return Mismatch(entry.value, path + "." + entry.key, "text");
      }
      entries[entry.key] = entry.value.scalar;
    }
    *field = std::move(entries);
    return absl::OkStatus();
  };
}

void Binder::AddObjects(std::string_view name, size_t max_items, std::string_view help,
                        ObjectAccess access, const std::function<void(Binder&)>& declare) {
  Key& key = Add(name, "list of sections", fmt::format("at most {} items", max_items), help);
  key.composite = true;
  const std::string path = key.path;
  key.get = [access, path] {
    Value list;
    list.kind = Value::Kind::kList;
    for (size_t i = 0; i < access.size(); ++i) {
      Binder element(fmt::format("{}[{}]", path, i));
      access.at(i, element);
      list.list.push_back(element.Effective());
    }
    return list;
  };
  key.set = [=](const Value& value) -> absl::Status {
    if (value.kind != Value::Kind::kList) return Mismatch(value, path, "a list of sections");
    if (value.list.size() > max_items) {
      return ErrorAt(value, fmt::format("{}: {} items, at most {} are allowed", path,
                                        value.list.size(), max_items));
    }
    access.clear();
    std::vector<std::string> errors;
    for (size_t i = 0; i < value.list.size(); ++i) {
      Binder element(fmt::format("{}[{}]", path, i));
      access.append(element);
      element.Apply(value.list[i], errors);
    }
    if (errors.empty()) return absl::OkStatus();
    return InvalidArgument("{}", fmt::join(errors, "\n"));
  };
  Binder element(path + "[]");
  declare(element);
  element_keys_.insert(element_keys_.end(), element.keys_.begin(), element.keys_.end());
  samples_.insert(samples_.end(), element.samples_.begin(), element.samples_.end());
}

void Binder::Section(std::string_view name, std::string_view help,
                     const std::function<void(Binder&)>& bind) {
  Binder inner(fmt::format("{}.{}", prefix_, name));
  bind(inner);
  sections_.emplace_back(inner.prefix_, help);
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  append(sections_, inner.sections_);
  append(keys_, inner.keys_);
  append(element_keys_, inner.element_keys_);
  append(samples_, inner.samples_);
}

void Binder::Apply(const Value& map, std::vector<std::string>& errors) const {
  struct Item {
    const Value* value;
    std::string path;
  };
  std::vector<Item> pending = {{&map, prefix_}};
  const auto fail = [&](absl::Status status) { errors.emplace_back(Message(status)); };
  while (!pending.empty()) {
    const Item item = std::move(pending.back());
    pending.pop_back();
    if (item.value->kind == Value::Kind::kNull) continue;  // "tls:" with nothing below it
    if (item.value->kind != Value::Kind::kMap) {
      fail(Mismatch(*item.value, item.path, "a section"));
      continue;
    }
    for (const Value::Entry& entry : item.value->map) {
      const std::string path = item.path + "." + entry.key;
      const auto key =
          std::find_if(keys_.begin(), keys_.end(), [&](const Key& k) { return k.path == path; });
      if (key != keys_.end()) {
        if (absl::Status status = key->set(entry.value); !status.ok()) fail(std::move(status));
        continue;
      }
      const std::string below = path + ".";
      const bool section = std::any_of(keys_.begin(), keys_.end(),
                                       [&](const Key& k) { return StartsWith(k.path, below); });
      if (section) {
        pending.push_back({&entry.value, path});
        continue;
      }
      std::set<std::string> known;
      for (const Key& k : keys_) {
        if (!StartsWith(k.path, item.path + ".")) continue;
        const std::string rest = k.path.substr(item.path.size() + 1);
        known.insert(rest.substr(0, rest.find('.')));
      }
      const std::string nearest = Nearest(entry.key, {known.begin(), known.end()});
      Value place = entry.value;
      if (entry.line > 0) place.line = entry.line;
      fail(ErrorAt(place,
                   fmt::format("{}: unknown key{}", path.substr(0, 200),
                               nearest.empty() ? std::string()
                                               : fmt::format("; did you mean '{}'?", nearest))));
    }
  }
}

Value Binder::Effective() const {
  Value root;
  root.kind = Value::Kind::kMap;
  for (const Key& key : keys_) {
    Place(root, std::string_view(key.path).substr(prefix_.size() + 1), key.get());
  }
  return root;
}

}  // namespace weft::config
