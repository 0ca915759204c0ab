// Filters on text and single values; those on sequences are in jinja_sequence_filters.cc.
#include "libs/tokenizer/jinja_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "libs/base/status.h"
#include "libs/tokenizer/unicode.h"
#include "libs/tokenizer/utf8.h"

namespace weft::jinja {
namespace {

using Bound = std::vector<std::optional<Value>>;

Value MakeText(Interpreter& in, MarkedText text) {
  return in.Charge(text.bytes()) ? Value::String(std::move(text)) : Value();
}

Value NoArgs(Interpreter& in, std::string_view what, const Args& args, MarkedText text) {
  Bound bound;
  if (!in.Bind(what, args, {}, 0, bound)) return {};
  return MakeText(in, std::move(text));
}

Value Upper(Interpreter& in, const Value& value, const Args& args) {
  return NoArgs(in, "upper", args, in.Text(value).Map(unicode::Upper));
}
Value Lower(Interpreter& in, const Value& value, const Args& args) {
  return NoArgs(in, "lower", args, in.Text(value).Map(unicode::Lower));
}
Value Capitalize(Interpreter& in, const Value& value, const Args& args) {
  return NoArgs(in, "capitalize", args, in.Text(value).Map(unicode::Capitalize));
}
Value String(Interpreter& in, const Value& value, const Args& args) {
  return NoArgs(in, "string", args, in.Text(value));
}

// jinja2's own: a word begins after white space, '-', or an opening bracket.
std::string TitleText(std::string_view text) {
  std::string out;
  size_t begin = 0;
  const auto flush = [&](size_t end) {
    if (begin == end) return;
    const std::string_view word = text.substr(begin, end - begin);
    const size_t first = DecodeUtf8(word, 0).length;
    out += unicode::Upper(word.substr(0, first));
    out += unicode::Lower(word.substr(first));
  };
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const bool separates = unicode::Is(c.code_point, unicode::kPythonSpace) ||
                           c.code_point == '-' || c.code_point == '(' || c.code_point == '{' ||
                           c.code_point == '[' || c.code_point == '<';
    if (separates) {
      flush(at);
      out += text.substr(at, c.length);
      begin = at + c.length;
    }
    at += c.length;
  }
  flush(text.size());
  return out;
}
Value Title(Interpreter& in, const Value& value, const Args& args) {
  return NoArgs(in, "title", args, in.Text(value).Map(TitleText));
}

Value Trim(Interpreter& in, const Value& value, const Args& args) {
  const Value text = Value::String(in.Text(value));
  return FindMethod(text, "strip")(in, text, args);
}

Value Replace(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("replace", args, {"old", "new", "count"}, 2, bound)) return {};
  const MarkedText marked = in.Text(value);
  const std::string& text = marked.text();
  const std::string from = in.Text(*bound[0]).text();
  const MarkedText to = in.Text(*bound[1]);
  int64_t left = INT64_MAX;
  if (bound[2] && !bound[2]->Is(Kind::kNone)) {
    if (!bound[2]->IsIntegral()) return in.Fail("the count of replace must be an integer");
    if (bound[2]->int_value() >= 0) left = bound[2]->int_value();
  }
  if (in.failed()) return {};
  MarkedText out;
  size_t at = 0;
  while (left > 0) {
    size_t found;
    if (from.empty()) {
      found = at;
    } else {
      const void* p = ::memmem(text.data() + at, text.size() - at, from.data(), from.size());
      if (p == nullptr) break;
      found = static_cast<size_t>(static_cast<const char*>(p) - text.data());
    }
    --left;
    if (!in.Charge(to.bytes() + sizeof(TextRange))) return {};
    out.AppendPart(marked, at, found);
    out.Append(to);
    at = found + from.size();
    if (from.empty()) {  // between all characters, and at both ends
      if (at >= text.size()) break;
      const uint32_t length = DecodeUtf8(text, at).length;
      out.AppendPart(marked, at, at + length);
      at += length;
    }
  }
  if (at < text.size()) out.AppendPart(marked, at, text.size());
  return MakeText(in, std::move(out));
}

Value Default(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("default", args, {"default_value", "boolean"}, 0, bound)) return {};
  const bool falsy = bound[1] && bound[1]->Truthy() && !value.Truthy();
  if (value.Is(Kind::kUndefined) || falsy) return bound[0].value_or(Value::Own(""));
  return value;
}

Value Length(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("length", args, {}, 0, bound)) return {};
  switch (value.kind()) {
    case Kind::kUndefined:
      return Value::Int(0);
    case Kind::kString: {
      int64_t count = 0;
      const std::string& text = value.string();
      if (!in.Charge(text.size())) return {};
      for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).length) ++count;
      return Value::Int(count);
    }
    case Kind::kList:
      if (value.IsList(ListForm::kGenerator)) break;
      return Value::Int(static_cast<int64_t>(value.items().size()));
    case Kind::kDict:
      return Value::Int(static_cast<int64_t>(value.dict().items.size()));
    case Kind::kLoop:
      return Value::Int(static_cast<int64_t>(value.loop().items->size()));
    default:
      break;
  }
  return in.Fail("object of type '{}' has no len()", value.TypeName());
}

std::string_view TrimSpace(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

// Python's int() and float() of a str; nothing when they raise.
std::optional<int64_t> ParseInt(std::string_view text, int base) {
  text = TrimSpace(text);
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text.size() > 2 && text[0] == '0') {
    const char prefix = static_cast<char>(text[1] | 0x20);
    if ((base == 16 && prefix == 'x') || (base == 8 && prefix == 'o') ||
        (base == 2 && prefix == 'b')) {
      text.remove_prefix(2);
    }
  }
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_') continue;
    digits += text[i];
  }
  uint64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, value, base);
  if (error != std::errc() || rest != end || digits.empty()) return std::nullopt;
  if (value > static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0)) return std::nullopt;
  return negative ? static_cast<int64_t>(~value + 1) : static_cast<int64_t>(value);
}

std::optional<double> ParseFloat(std::string_view text) {
  const std::string trimmed(TrimSpace(text));
  if (trimmed.empty() || trimmed.find_first_of("xXpP(") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(trimmed.c_str(), &end);
  if (end != trimmed.c_str() + trimmed.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> Truncate(double value) {
  if (!(value > -9.2e18 && value < 9.2e18)) return std::nullopt;
  return static_cast<int64_t>(value);
}

Value Int(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("int", args, {"default", "base"}, 0, bound)) return {};
  const Value otherwise = bound[0].value_or(Value::Int(0));
  if (value.IsIntegral()) return Value::Int(value.int_value());
  std::optional<int64_t> out;
  if (value.Is(Kind::kFloat)) {
    out = Truncate(value.float_value());
  } else if (value.Is(Kind::kString)) {
    int base = 10;
    if (bound[1]) {
      if (!bound[1]->IsIntegral() || bound[1]->int_value() < 2 || bound[1]->int_value() > 36) {
        return in.Fail("the base of int must be 2 to 36");
      }
      base = static_cast<int>(bound[1]->int_value());
    }
    out = ParseInt(value.string(), base);
    if (!out) {
      if (const auto number = ParseFloat(value.string())) out = Truncate(*number);
    }
  } else if (value.Is(Kind::kUndefined)) {
    return in.Fail("{}", value.string().empty() ? "an undefined value is used" : value.string());
  }
  return out ? Value::Int(*out) : otherwise;
}

Value Float(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("float", args, {"default"}, 0, bound)) return {};
  if (value.IsNumber()) return Value::Float(value.float_value());
  if (value.Is(Kind::kString)) {
    if (const auto number = ParseFloat(value.string())) return Value::Float(*number);
  } else if (value.Is(Kind::kUndefined)) {
    return in.Fail("{}", value.string().empty() ? "an undefined value is used" : value.string());
  }
  return bound[0].value_or(Value::Float(0));
}

Value Abs(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("abs", args, {}, 0, bound)) return {};
  if (value.Is(Kind::kFloat)) return Value::Float(std::fabs(value.float_value()));
  if (!value.IsIntegral()) return in.Fail("bad operand type for abs(): '{}'", value.TypeName());
  if (value.int_value() >= 0) return Value::Int(value.int_value());
  return in.Binary("-", Value::Int(0), Value::Int(value.int_value()));
}

Value Round(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("round", args, {"precision", "method"}, 0, bound)) return {};
  const std::string method = bound[1] ? in.Text(*bound[1]).text() : "common";
  if (!value.IsNumber()) return in.Fail("round needs a number, not '{}'", value.TypeName());
  if (method != "common" && method != "ceil" && method != "floor") {
    return in.Fail("the method of round must be common, ceil or floor");
  }
  if (bound[0] && !bound[0]->IsIntegral()) return in.Fail("the precision must be an integer");
  const int64_t precision = bound[0] ? bound[0]->int_value() : 0;
  if (precision < -300 || precision > 300) return in.Fail("the precision is out of range");
  const double number = value.float_value();
  if (method == "common") {
    if (value.IsIntegral() && precision >= 0) return Value::Int(value.int_value());
    if (precision >= 0) {
      // Correctly rounded, ties to even on the exact value: as Python's round.
      const std::string text = fmt::format("{:.{}f}", number, precision);
      return Value::Float(std::strtod(text.c_str(), nullptr));
    }
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    const double rounded = std::nearbyint(number / scale) * scale;
    if (value.IsIntegral()) return Value::Int(Truncate(rounded).value_or(0));
    return Value::Float(rounded);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = number * scale;
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

// For {{ x|tojson }} and {{ x|tojson(indent=4) }}.
Value ToJsonFilter(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, bound)) {
    return {};
  }
  JsonStyle style;
  style.ensure_ascii = bound[0] && bound[0]->Truthy();
  style.sort_keys = bound[3] && bound[3]->Truthy();
  if (bound[1] && bound[1]->Is(Kind::kString)) {
    style.indent = bound[1]->text();
  } else if (bound[1] && bound[1]->IsIntegral()) {
    const int64_t width = std::clamp<int64_t>(bound[1]->int_value(), 0, 64);
    style.indent = MarkedText::Own(std::string(static_cast<size_t>(width), ' '));
  } else if (bound[1] && !bound[1]->Is(Kind::kNone)) {
    return in.Fail("the indent of tojson must be an integer or a str");
  }
  if (style.indent) style.item_separator = MarkedText::Own(",");
  if (bound[2] && !bound[2]->Is(Kind::kNone)) {
    if (!bound[2]->IsSequence() || bound[2]->items().size() != 2) {
      return in.Fail("the separators of tojson must be two");
    }
    style.item_separator = in.Text(bound[2]->items()[0]);
    style.key_separator = in.Text(bound[2]->items()[1]);
  }
  style.max_bytes = in.left() / 8;
  MarkedText out;
  std::string what;
  if (!ToJson(value, style, out, what)) {
    return in.Fail("Object of type {} is not JSON serializable", what);
  }
  if (!in.Charge(out.bytes() * 7)) return {};  // dearer than a copy
  return MakeText(in, std::move(out));
}

Value Indent(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("indent", args, {"width", "first", "blank"}, 0, bound)) return {};
  MarkedText indention = MarkedText::Own("    ");
  if (bound[0] && bound[0]->Is(Kind::kString)) {
    indention = bound[0]->text();
  } else if (bound[0] && bound[0]->IsIntegral()) {
    const int64_t width = std::clamp<int64_t>(bound[0]->int_value(), 0, 4096);
    indention = MarkedText::Own(std::string(static_cast<size_t>(width), ' '));
  } else if (bound[0]) {
    return in.Fail("the width of indent must be an integer or a str");
  }
  const bool first = bound[1] && bound[1]->Truthy();
  const bool blank = bound[2] && bound[2]->Truthy();
  MarkedText whole = in.Text(value);
  whole.AppendOwn("\n");
  const Value text = Value::String(std::move(whole));
  const Value lines = FindMethod(text, "splitlines")(in, text, {});
  if (in.failed()) return {};
  MarkedText out;
  for (size_t i = 0; i < lines.items().size(); ++i) {
    const MarkedText& line = lines.items()[i].text();
    if (i > 0) out.AppendOwn("\n");
    if (i == 0 ? first : (blank || !line.empty())) out.Append(indention);
    out.Append(line);
    if (!in.Charge(line.bytes() + indention.bytes())) return {};
  }
  return Value::String(std::move(out));
}

Value Escape(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("escape", args, {}, 0, bound)) return {};
  return Escaped(in, value.Is(Kind::kString) ? value : Value::String(in.Text(value)));
}

Value Safe(Interpreter& in, const Value& value, const Args& args) {
  return AsMarkup(in, NoArgs(in, "safe", args, in.Text(value)));
}

Value WordCount(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("wordcount", args, {}, 0, bound)) return {};
  int64_t count = 0;
  bool inside = false;
  const std::string text = in.Text(value).text();
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text, at);
    const bool word =
        c.code_point == '_' || unicode::Is(c.code_point, unicode::kLetter | unicode::kNumber);
    if (word && !inside) ++count;
    inside = word;
    at += c.length;
  }
  return Value::Int(count);
}

Value Format(Interpreter& in, const Value& value, const Args& args) {
  if (!args.named.empty() && !args.positional.empty()) {
    return in.Fail("format takes positional or named arguments, not both");
  }
  if (args.named.empty()) {
    return FormatPercent(in, in.Text(value), Value::List(args.positional, ListForm::kTuple));
  }
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i < args.named.size(); ++i) {
    items.emplace_back(args.Name(i), args.named[i].second);
  }
  return FormatPercent(in, in.Text(value), Value::Dict(std::move(items)));
}

Value Attr(Interpreter& in, const Value& value, const Args& args) {
  Bound bound;
  if (!in.Bind("attr", args, {"name"}, 1, bound)) return {};
  const std::string name = in.Text(*bound[0]).text();
  // Only true attributes: not the keys of a dict.
  if (value.Is(Kind::kDict) && FindMethod(value, name) == nullptr) {
    return Value::Undefined(fmt::format("'dict object' has no attribute '{}'", name));
  }
  return in.GetAttr(value, name);
}

constexpr NamedFilter kFilters[] = {
    {"abs", Abs},       {"attr", Attr},           {"capitalize", Capitalize},
    {"count", Length},  {"d", Default},           {"default", Default},
    {"e", Escape},      {"escape", Escape},       {"float", Float},
    {"format", Format}, {"indent", Indent},       {"int", Int},
    {"length", Length}, {"lower", Lower},         {"replace", Replace},
    {"round", Round},   {"safe", Safe},           {"string", String},
    {"title", Title},   {"tojson", ToJsonFilter}, {"trim", Trim},
    {"upper", Upper},   {"wordcount", WordCount},
};

}  // namespace

Function FindFilter(std::string_view name) {
  for (const NamedFilter& filter : kFilters) {
    if (filter.name == name) return filter.function;
  }
  return FindSequenceFilter(name);
}

}  // namespace weft::jinja
