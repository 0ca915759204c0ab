// Strings that are HTML already: jinja2's `safe` and `escape` make Python's Markup, whose operators
// and methods escape what they add to it, whether or not the template escapes its output.
#include <algorithm>

#include "libs/tokenizer/jinja_interpreter.h"

namespace weft::jinja {
namespace {

std::string EscapeText(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value EscapedItems(Interpreter& in, const Value& list) {
  const auto items = in.Iterate(list);
  if (items == nullptr) return Value::List({});
  std::vector<Value> out;
  out.reserve(items->size());
  for (const Value& item : *items) out.push_back(Escaped(in, item));
  return Value::List(std::move(out));
}

}  // namespace

Value Escaped(Interpreter& in, const Value& value) {
  if (!value.Is(Kind::kString) || value.IsMarkup()) return value;
  MarkedText text = value.text().Map(EscapeText);
  return in.Charge(text.bytes()) ? Value::Markup(std::move(text)) : Value();
}

Args EscapedArgs(Interpreter& in, std::string_view method, const Args& args) {
  Args out = args;
  if (method == "format") {
    for (Value& value : out.positional) value = Escaped(in, value);
    for (auto& [name, value] : out.named) value = Escaped(in, value);
  } else if (method == "join" && !out.positional.empty()) {
    out.positional[0] = EscapedItems(in, out.positional[0]);
  } else if (method == "replace" && out.positional.size() > 1) {
    out.positional[1] = Escaped(in, out.positional[1]);
  }
  return out;
}

Value EscapedParts(Interpreter& in, const Value& values) {
  if (values.IsList(ListForm::kTuple)) {
    std::vector<Value> out = EscapedItems(in, values).items();
    return Value::List(std::move(out), ListForm::kTuple);
  }
  if (!values.Is(Kind::kDict)) return Escaped(in, values);
  std::vector<std::pair<Value, Value>> out = values.dict().items;
  for (auto& [key, value] : out) value = Escaped(in, value);
  return Value::Dict(std::move(out));
}

Value AsMarkup(Interpreter& in, const Value& value) {
  if (value.Is(Kind::kString)) return Value::Markup(value.text());
  if (!value.IsSequence()) return value;
  if (!in.Charge(value.items().size() * sizeof(Value))) return {};
  std::vector<Value> items;
  items.reserve(value.items().size());
  for (const Value& item : value.items()) {
    items.push_back(item.Is(Kind::kString) ? Value::Markup(item.text()) : item);
  }
  return Value::List(std::move(items), value.form());
}

bool FilterKeepsMarkup(std::string_view filter) {
  static constexpr std::string_view kKeep[] = {"capitalize", "format", "indent", "lower",
                                               "reverse",    "string", "trim",   "upper"};
  return std::find(std::begin(kKeep), std::end(kKeep), filter) != std::end(kKeep);
}

}  // namespace weft::jinja
