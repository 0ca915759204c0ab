// YAML to rules. docs/scanner.md describes the format.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>

#include "libs/base/status.h"
#include "libs/config/value.h"
#include "libs/scan/checks.h"
#include "libs/scan/rule_set.h"

namespace weft::scan {
namespace {

using config::ErrorAt;
using config::Value;

constexpr size_t kMaxRulesInFile = 1000;
constexpr size_t kMaxExamples = 64;
constexpr size_t kMaxExampleBytes = 8192;
constexpr size_t kMaxTextBytes = 512;
constexpr size_t kMaxPatternBytes = 4096;

absl::StatusOr<std::string> Text(const Value& value, size_t max_bytes) {
  if (value.kind != Value::Kind::kScalar) {
    return ErrorAt(value, fmt::format("expected text, not {}", value.Describe()));
  }
  if (value.scalar.empty()) return ErrorAt(value, "may not be empty");
  if (value.scalar.size() > max_bytes) {
    return ErrorAt(value,
                   fmt::format("{} bytes, at most {} are allowed", value.scalar.size(), max_bytes));
  }
  return value.scalar;
}

absl::Status SetText(const Value& value, size_t max_bytes, std::string& out) {
  auto text = Text(value, max_bytes);
  if (!text.ok()) return text.status();
  out.swap(*text);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Texts(const Value& value, size_t max_items) {
  if (value.kind != Value::Kind::kList) {
    return ErrorAt(value, fmt::format("expected a list, not {}", value.Describe()));
  }
  if (value.list.size() > max_items) {
    return ErrorAt(value,
                   fmt::format("{} items, at most {} are allowed", value.list.size(), max_items));
  }
  std::vector<std::string> out;
  for (const Value& item : value.list) {
    WEFT_ASSIGN_OR_RETURN(std::string text, Text(item, kMaxTextBytes));
    out.push_back(std::move(text));
  }
  return out;
}

// An example is a text, or a list of parts that are joined: a literal that a secret scanner would
// take for a live key is written in parts.
absl::StatusOr<std::vector<std::string>> Examples(const Value& value) {
  if (value.kind != Value::Kind::kList) {
    return ErrorAt(value, fmt::format("expected a list, not {}", value.Describe()));
  }
  if (value.list.size() > kMaxExamples) {
    return ErrorAt(
        value, fmt::format("{} examples, at most {} are allowed", value.list.size(), kMaxExamples));
  }
  std::vector<std::string> out;
  for (const Value& item : value.list) {
    std::string example;
    if (item.kind == Value::Kind::kList) {
      for (const Value& part : item.list) {
        WEFT_ASSIGN_OR_RETURN(const std::string text, Text(part, kMaxExampleBytes));
        example += text;
      }
    } else {
      WEFT_ASSIGN_OR_RETURN(example, Text(item, kMaxExampleBytes));
    }
    if (example.size() > kMaxExampleBytes) {
      return ErrorAt(
          item, fmt::format("{} bytes, at most {} are allowed", example.size(), kMaxExampleBytes));
    }
    out.push_back(std::move(example));
  }
  return out;
}

template <typename T>
absl::StatusOr<T> Number(const Value& value, T min, T max) {
  T number{};
  const char* const end = value.scalar.data() + value.scalar.size();
  if (value.kind == Value::Kind::kScalar && !value.quoted) {
    const auto [stop, error] = std::from_chars(value.scalar.data(), end, number);
    if (error == std::errc() && stop == end && number >= min && number <= max) return number;
  }
  return ErrorAt(
      value, fmt::format("expected a number from {} to {}, not {}", min, max, value.Describe()));
}

template <typename E>
absl::StatusOr<E> Choice(const Value& value, std::string_view choices) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, Text(value, kMaxTextBytes));
  E out{};
  if (!Parse(text, out)) {
    return ErrorAt(value, fmt::format("\"{}\" is none of {}", text, choices));
  }
  return out;
}

bool IsId(std::string_view id) {
  return id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                  c == '_';
         });
}

absl::StatusOr<std::string> Identifier(const Value& value) {
  WEFT_ASSIGN_OR_RETURN(std::string id, Text(value, kMaxTextBytes));
  if (!IsId(id)) {
    return ErrorAt(value, fmt::format("\"{}\": expected at most 64 of a-z 0-9 . - _", id));
  }
  return id;
}

absl::Status ParseKinds(const Value& value, Rule& rule) {
  WEFT_ASSIGN_OR_RETURN(const auto names, Texts(value, kTextKinds));
  for (size_t i = 0; i < names.size(); ++i) {
    TextKind kind{};
    if (!Parse(names[i], kind)) {
      return ErrorAt(value.list[i],
                     fmt::format("\"{}\" is none of prompt, output, code", names[i]));
    }
    rule.kinds[static_cast<size_t>(kind)] = true;
  }
  return absl::OkStatus();
}

absl::Status ParseFlags(const Value& value, Rule& rule) {
  WEFT_ASSIGN_OR_RETURN(const auto names, Texts(value, 2));
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "caseless") {
      rule.caseless = true;
    } else if (names[i] == "unicode") {
      rule.unicode = true;
    } else {
      return ErrorAt(value.list[i], fmt::format("\"{}\" is none of caseless, unicode", names[i]));
    }
  }
  return absl::OkStatus();
}

absl::Status ParseChecks(const Value& value, Rule& rule) {
  WEFT_ASSIGN_OR_RETURN(const auto names, Texts(value, 4));
  for (size_t i = 0; i < names.size(); ++i) {
    Check check{};
    if (!Parse(names[i], check)) {
      return ErrorAt(value.list[i],
                     fmt::format("\"{}\" is none of crc32_base62, crc32_base62_all, jwt, "
                                 "not_placeholder",
                                 names[i]));
    }
    rule.checks.push_back(check);
  }
  return absl::OkStatus();
}

absl::Status ParseScope(const Value& value, Rule& rule) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, Text(value, kMaxTextBytes));
  if (text != "line" && text != "text") {
    return ErrorAt(value, fmt::format("\"{}\" is none of line, text", text));
  }
  rule.scope = text == "line" ? Scope::kLine : Scope::kText;
  return absl::OkStatus();
}

absl::Status ParseReport(const Value& value, Rule& rule) {
  WEFT_ASSIGN_OR_RETURN(const std::string text, Text(value, kMaxTextBytes));
  if (text != "line" && text != "match") {
    return ErrorAt(value, fmt::format("\"{}\" is none of line, match", text));
  }
  rule.report = text == "line" ? Report::kLine : Report::kMatch;
  return absl::OkStatus();
}

absl::Status ParseField(const Value::Entry& field, Rule& rule) {
  const Value& value = field.value;
  const std::string& key = field.key;
  if (key == "id") {
    WEFT_ASSIGN_OR_RETURN(rule.id, Identifier(value));
  } else if (key == "type") {
    WEFT_ASSIGN_OR_RETURN(rule.type, Identifier(value));
  } else if (key == "category") {
    WEFT_ASSIGN_OR_RETURN(rule.category, Choice<Category>(value, "code, prompt, secret"));
  } else if (key == "severity") {
    WEFT_ASSIGN_OR_RETURN(rule.severity,
                          Choice<Severity>(value, "info, low, medium, high, critical"));
  } else if (key == "message") {
    return SetText(value, kMaxTextBytes, rule.message);
  } else if (key == "pattern") {
    return SetText(value, kMaxPatternBytes, rule.pattern);
  } else if (key == "follow") {
    return SetText(value, kMaxPatternBytes, rule.follow);
  } else if (key == "flags") {
    return ParseFlags(value, rule);
  } else if (key == "scope") {
    return ParseScope(value, rule);
  } else if (key == "report") {
    return ParseReport(value, rule);
  } else if (key == "languages") {
    WEFT_ASSIGN_OR_RETURN(rule.languages, Texts(value, 64));
  } else if (key == "kinds") {
    return ParseKinds(value, rule);
  } else if (key == "group") {
    WEFT_ASSIGN_OR_RETURN(rule.group, Number<int>(value, 0, 16));
  } else if (key == "entropy") {
    WEFT_ASSIGN_OR_RETURN(rule.min_entropy, Number<double>(value, 0.0, 8.0));
  } else if (key == "checks") {
    return ParseChecks(value, rule);
  } else if (key == "bad") {
    WEFT_ASSIGN_OR_RETURN(rule.bad, Examples(value));
  } else if (key == "good") {
    WEFT_ASSIGN_OR_RETURN(rule.good, Examples(value));
  } else {
    return ErrorAt(value, fmt::format("unknown field \"{}\"", key));
  }
  return absl::OkStatus();
}

// `scope` and `report` follow the category unless they are given, so it is read first.
absl::StatusOr<Rule> ParseRule(const Value& value) {
  if (value.kind != Value::Kind::kMap) {
    return ErrorAt(value, fmt::format("expected a rule, not {}", value.Describe()));
  }
  for (const std::string_view key :
       {"id", "type", "category", "severity", "message", "pattern", "kinds", "bad"}) {
    if (value.Find(key) == nullptr) {
      return ErrorAt(value, fmt::format("the rule has no field \"{}\"", key));
    }
  }
  Rule rule;
  rule.where = value.Where();
  WEFT_ASSIGN_OR_RETURN(rule.category,
                        Choice<Category>(*value.Find("category"), "code, prompt, secret"));
  rule.scope = rule.category == Category::kPrompt ? Scope::kText : Scope::kLine;
  rule.report = rule.category == Category::kCode ? Report::kLine : Report::kMatch;
  for (const Value::Entry& field : value.map) {
    if (absl::Status status = ParseField(field, rule); !status.ok()) {
      return Annotate(std::move(status), fmt::format("rules.{}", field.key));
    }
  }
  if (!rule.follow.empty() && rule.report == Report::kLine) {
    return ErrorAt(value, "follow: needs report: \"match\"");
  }
  if (rule.report == Report::kLine && rule.scope == Scope::kText) {
    return ErrorAt(value, "report: \"line\" needs scope: \"line\"");
  }
  for (std::string& language : rule.languages) {
    std::transform(language.begin(), language.end(), language.begin(), [](unsigned char c) {
      return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    });
  }
  return rule;
}

}  // namespace

absl::StatusOr<std::vector<Rule>> ParseRules(std::string_view yaml, const std::string& origin) {
  WEFT_ASSIGN_OR_RETURN(const Value document, config::ParseYaml(yaml, origin));
  const Value* list = document.Find("rules");
  if (list == nullptr || document.map.size() != 1 || list->kind != Value::Kind::kList) {
    return ErrorAt(document, "expected one field \"rules\" that holds a list");
  }
  if (list->list.size() > kMaxRulesInFile) {
    return ErrorAt(*list, fmt::format("rules: {} entries, at most {} are allowed",
                                      list->list.size(), kMaxRulesInFile));
  }
  std::vector<Rule> rules;
  rules.reserve(list->list.size());
  for (const Value& item : list->list) {
    WEFT_ASSIGN_OR_RETURN(Rule rule, ParseRule(item));
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace weft::scan
