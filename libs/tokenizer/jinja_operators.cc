// Operators, subscripts, iteration: what Python does for the same types.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "libs/base/status.h"
#include "libs/tokenizer/jinja_interpreter.h"
#include "libs/tokenizer/utf8.h"

namespace weft::jinja {
namespace {

// What one character as a value of its own holds.
constexpr uint64_t kCharacterCost = sizeof(Value) + sizeof(StringObject) + sizeof(TextRange);

// Whether something undefined is used, which every operator refuses.
bool RefuseUndefined(Interpreter& in, const Value& value) {
  if (!value.Is(Kind::kUndefined)) return false;
  in.Fail("{}", value.string().empty() ? "an undefined value is used" : value.string());
  return true;
}

bool IsTextual(const Value& value) { return value.Is(Kind::kString); }

// memmem is linear; std::string::find is not.
bool HasText(std::string_view text, std::string_view part) {
  if (part.empty()) return true;
  return ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

}  // namespace

std::vector<Value> Characters(const MarkedText& text) {
  std::vector<Value> out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = DecodeUtf8(text.text(), at);
    out.push_back(Value::String(text.Part(at, at + c.length)));
    at += c.length;
  }
  return out;
}

Value Interpreter::IntArithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == "**") {
    if (b < 0) return FloatArithmetic(op, static_cast<double>(a), static_cast<double>(b));
    out = 1;
    for (int64_t base = a, left = b; left > 0 && !overflow; left >>= 1) {
      if ((left & 1) != 0) overflow = __builtin_mul_overflow(out, base, &out);
      if (left > 1 && !overflow) overflow = __builtin_mul_overflow(base, base, &base);
    }
  } else {
    if (b == 0) return Fail("division by zero");
    if (op == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) {
      if (op == "%") return Value::Int(0);
      overflow = __builtin_sub_overflow(int64_t{0}, a, &out);
    } else {
      const int64_t rest = a % b;
      const bool adjust = rest != 0 && (rest < 0) != (b < 0);
      out = op == "%" ? (adjust ? rest + b : rest) : a / b - (adjust ? 1 : 0);
    }
  }
  if (overflow) return Fail("an integer does not fit 64 bits");
  return Value::Int(out);
}

Value Interpreter::FloatArithmetic(std::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) return Fail("0.0 cannot be raised to a negative power");
    const double out = std::pow(a, b);
    if (std::isnan(out) && !std::isnan(a) && !std::isnan(b))
      return Fail("complex numbers are not supported");
    if (std::isinf(out) && !std::isinf(a) && !std::isinf(b)) return Fail("the result is too large");
    return Value::Float(out);
  }
  if (b == 0) return Fail("float division by zero");
  if (op == "/") return Value::Float(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (rest == 0) rest = std::copysign(0.0, b);
  if (op == "%") return Value::Float(rest);
  const double whole = std::round((a - rest) / b);
  return Value::Float(whole == 0 ? std::copysign(0.0, a / b) : whole);
}

Value Interpreter::Arithmetic(std::string_view op, const Value& a, const Value& b) {
  if (a.IsIntegral() && b.IsIntegral()) return IntArithmetic(op, a.int_value(), b.int_value());
  return FloatArithmetic(op, a.float_value(), b.float_value());
}

Value Interpreter::Repeat(const Value& sequence, int64_t times) {
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  const uint64_t size =
      IsTextual(sequence) ? sequence.text().bytes() : sequence.items().size() * sizeof(Value);
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(size, count, &bytes)) bytes = UINT64_MAX;
  if (!Charge(bytes)) return {};
  if (IsTextual(sequence)) {
    MarkedText out;
    out.Reserve(sequence.text().size() * count);
    if (size > 0) {
      for (uint64_t i = 0; i < count; ++i) out.Append(sequence.text());
    }
    return sequence.IsMarkup() ? Value::Markup(std::move(out)) : Value::String(std::move(out));
  }
  std::vector<Value> out;
  if (size > 0) {
    for (uint64_t i = 0; i < count; ++i) {
      out.insert(out.end(), sequence.items().begin(), sequence.items().end());
    }
  }
  return Value::List(std::move(out), sequence.form());
}

Value Interpreter::Binary(std::string_view op, const Value& a, const Value& b) {
  if (op == "%" && IsTextual(a)) {
    if (!a.IsMarkup()) return FormatPercent(*this, a.text(), b);
    const Value parts = EscapedParts(*this, b);
    return failed() ? Value() : AsMarkup(*this, FormatPercent(*this, a.text(), parts));
  }
  if (RefuseUndefined(*this, a) || RefuseUndefined(*this, b)) return {};
  if (a.IsNumber() && b.IsNumber()) return Arithmetic(op, a, b);
  if (op == "+") {
    if (IsTextual(a) && IsTextual(b)) {
      if (a.IsMarkup() != b.IsMarkup()) return Binary(op, Escaped(*this, a), Escaped(*this, b));
      if (!Charge(a.text().bytes() + b.text().bytes())) return {};
      MarkedText out = a.text();
      out.Append(b.text());
      return a.IsMarkup() ? Value::Markup(std::move(out)) : Value::String(std::move(out));
    }
    if (a.IsSequence() && b.IsSequence() && a.form() == b.form()) {
      if (!Charge((a.items().size() + b.items().size()) * sizeof(Value))) return {};
      std::vector<Value> items = a.items();
      items.insert(items.end(), b.items().begin(), b.items().end());
      return Value::List(std::move(items), a.form());
    }
  }
  if (op == "*") {
    if ((IsTextual(a) || a.IsSequence()) && b.IsIntegral()) return Repeat(a, b.int_value());
    if ((IsTextual(b) || b.IsSequence()) && a.IsIntegral()) return Repeat(b, a.int_value());
  }
  return Fail("unsupported operand types for {}: '{}' and '{}'", op, a.TypeName(), b.TypeName());
}

bool Interpreter::Contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!IsTextual(item)) {
        Fail("'in <string>' requires string as left operand, not {}", item.TypeName());
        return false;
      }
      return Charge(container.string().size()) && HasText(container.string(), item.string());
    case Kind::kList:
      for (const Value& known : container.items()) {
        if (Same(known, item)) return true;
        if (failed()) return false;
      }
      return false;
    case Kind::kDict:
      if (!IsKey(item)) {
        Fail("a {} cannot be a key", item.TypeName());
        return false;
      }
      return container.dict().Find(item) != nullptr;
    default:
      Fail("argument of type '{}' is not iterable", container.TypeName());
      return false;
  }
}

std::shared_ptr<const std::vector<Value>> Interpreter::Iterate(const Value& value) {
  if (failed()) return nullptr;
  switch (value.kind()) {
    case Kind::kUndefined:
      return std::make_shared<std::vector<Value>>();
    case Kind::kList:
      return value.shared_items();
    case Kind::kString:
      if (!Charge(value.string().size() * kCharacterCost)) return nullptr;
      return std::make_shared<std::vector<Value>>(Characters(value.text()));
    case Kind::kDict: {
      if (!Charge(value.dict().items.size() * sizeof(Value))) return nullptr;
      auto keys = std::make_shared<std::vector<Value>>();
      for (const auto& [key, item] : value.dict().items) keys->push_back(key);
      return keys;
    }
    default:
      Fail("'{}' object is not iterable", value.TypeName());
      return nullptr;
  }
}

Value Interpreter::GetAttr(const Value& object, const std::string& name) {
  if (RefuseUndefined(*this, object)) return {};
  if (object.Is(Kind::kNamespace)) {
    const auto& values = object.name_space().values;
    const auto it = values.find(name);
    if (it != values.end()) return it->second;
  } else if (object.Is(Kind::kLoop)) {
    const LoopObject& loop = object.loop();
    const auto size = static_cast<int64_t>(loop.items->size());
    const auto index0 = static_cast<int64_t>(loop.index0);
    if (name == "index") return Value::Int(index0 + 1);
    if (name == "index0") return Value::Int(index0);
    if (name == "revindex") return Value::Int(size - index0);
    if (name == "revindex0") return Value::Int(size - index0 - 1);
    if (name == "first") return Value::Bool(index0 == 0);
    if (name == "last") return Value::Bool(index0 + 1 == size);
    if (name == "length") return Value::Int(size);
    if (name == "depth") return Value::Int(loop.nesting);
    if (name == "depth0") return Value::Int(loop.nesting - 1);
    if (name == "previtem") {
      return index0 > 0 ? (*loop.items)[loop.index0 - 1]
                        : Value::Undefined("there is no previous item");
    }
    if (name == "nextitem") {
      return index0 + 1 < size ? (*loop.items)[loop.index0 + 1]
                               : Value::Undefined("there is no next item");
    }
  } else if (object.Is(Kind::kFunction) && name == "name") {
    return Value::Own(object.function().name);
  }
  // A method comes before a key of the same name.
  if (const Function method = FindMethod(object, name)) return MakeFunction(name, method, object);
  if (object.Is(Kind::kDict)) {
    if (const Value* value = object.dict().Find(name)) return *value;
  }
  return Value::Undefined(
      fmt::format("'{} object' has no attribute '{}'", object.TypeName(), name));
}

Value Interpreter::GetItem(const Value& object, const Value& key) {
  if (RefuseUndefined(*this, object)) return {};
  if (object.Is(Kind::kDict)) {
    if (const Value* value = object.dict().Find(key)) return *value;
  } else if (object.IsSequence() && key.IsIntegral()) {
    const auto size = static_cast<int64_t>(object.items().size());
    const int64_t index = key.int_value() < 0 ? key.int_value() + size : key.int_value();
    if (index >= 0 && index < size) return object.items()[static_cast<size_t>(index)];
    return Value::Undefined(fmt::format("the list has no element {}", key.int_value()));
  } else if (IsTextual(object) && key.IsIntegral()) {
    Value one =
        Slice(object, Value::Int(key.int_value()),
              key.int_value() == -1
                  ? Value::None()
                  : Value::Int(key.int_value() == INT64_MAX ? INT64_MAX : key.int_value() + 1),
              Value::None());
    if (failed() || !one.string().empty()) return one;
    return Value::Undefined(fmt::format("the string has no character {}", key.int_value()));
  }
  // An item that is missing may still be an attribute.
  if (key.Is(Kind::kString)) {
    if (!object.Is(Kind::kDict)) return GetAttr(object, key.string());
    if (const Function method = FindMethod(object, key.string())) {
      return MakeFunction(key.string(), method, object);
    }
    return Value::Undefined(fmt::format("'dict object' has no attribute '{}'", key.string()));
  }
  return Value::Undefined(fmt::format("'{} object' has no element {}", object.TypeName(),
                                      Repr(key, 40).text().substr(0, 40)));
}

Value Interpreter::Slice(const Value& object, const Value& start, const Value& stop,
                         const Value& step) {
  if (RefuseUndefined(*this, object)) return {};
  if (!IsTextual(object) && !object.IsSequence()) {
    return Value::Undefined(fmt::format("'{}' object cannot be sliced", object.TypeName()));
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->IsIntegral() && !bound->Is(Kind::kNone)) {
      return Value::Undefined("slice indices must be integers or None");
    }
  }
  const std::vector<Value>* items = nullptr;
  std::vector<uint32_t> begins;  // of the characters, and the end
  int64_t size = 0;
  if (IsTextual(object)) {
    const std::string& text = object.string();
    if (!Charge(text.size() * sizeof(uint32_t))) return {};
    begins.reserve(text.size() + 1);
    for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).length) {
      begins.push_back(static_cast<uint32_t>(at));
    }
    size = static_cast<int64_t>(begins.size());
    begins.push_back(static_cast<uint32_t>(text.size()));
  } else {
    items = &object.items();
    size = static_cast<int64_t>(items->size());
    if (!Charge(items->size() * sizeof(Value))) return {};
  }
  // Python's slice.indices.
  const int64_t by = step.Is(Kind::kNone) ? 1 : step.int_value();
  if (by == 0) return Fail("slice step cannot be zero");
  const int64_t lowest = by < 0 ? -1 : 0;
  const int64_t highest = by < 0 ? size - 1 : size;
  const auto clamp = [&](const Value& bound, int64_t otherwise) {
    if (bound.Is(Kind::kNone)) return otherwise;
    int64_t index = bound.int_value();
    if (index < 0) index = index < -size ? -1 - size : index;
    if (index < 0) index += size;
    return std::clamp(index, lowest, highest);
  };
  const int64_t from = clamp(start, by < 0 ? highest : lowest);
  const int64_t to = clamp(stop, by < 0 ? lowest : highest);
  MarkedText text;
  std::vector<Value> chosen;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    const auto at = static_cast<size_t>(i);
    if (items != nullptr) {
      chosen.push_back((*items)[at]);
    } else {
      text.AppendPart(object.text(), begins[at], begins[at + 1]);
    }
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (items != nullptr) return Value::List(std::move(chosen), object.form());
  return object.IsMarkup() ? Value::Markup(std::move(text)) : Value::String(std::move(text));
}

Value MakeFunction(std::string name, Function builtin, Value self) {
  auto function = std::make_shared<FunctionObject>();
  function->name = std::move(name);
  function->builtin = builtin;
  function->depth = self.depth() + 1;
  function->self = std::move(self);
  return Value::Of(Kind::kFunction, std::move(function));
}

}  // namespace weft::jinja
