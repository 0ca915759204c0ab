#include "libs/tokenizer/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "libs/base/status.h"

namespace weft::jinja {
namespace {

template <typename T>
std::shared_ptr<T> Make() {
  return std::make_shared<T>();
}

// Exact comparison of an integer with a float: the integer may not fit a double.
int CompareIntFloat(int64_t a, double b) {
  if (b >= 9223372036854775808.0) return -1;
  if (b < -9223372036854775808.0) return 1;
  const auto whole = static_cast<int64_t>(b);
  if (a != whole) return a < whole ? -1 : 1;
  const double rest = b - static_cast<double>(whole);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

template <typename T>
int Sign(T a, T b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

std::optional<int> CompareNumbers(const Value& a, const Value& b) {
  if (a.IsIntegral() && b.IsIntegral()) return Sign(a.int_value(), b.int_value());
  if ((a.Is(Kind::kFloat) && std::isnan(a.float_value())) ||
      (b.Is(Kind::kFloat) && std::isnan(b.float_value()))) {
    return std::nullopt;
  }
  if (a.IsIntegral()) return CompareIntFloat(a.int_value(), b.float_value());
  if (b.IsIntegral()) return -CompareIntFloat(b.int_value(), a.float_value());
  return Sign(a.float_value(), b.float_value());
}

// One text for all keys that are equal: 1, 1.0 and true are the same key.
std::string KeyText(const Value& key) {
  if (key.IsIntegral()) return fmt::format("{}", key.int_value());
  if (!key.Is(Kind::kFloat)) return std::string(key.TypeName());
  const double number = key.float_value();
  if (std::fabs(number) < 9e18 && number == std::trunc(number)) {
    return fmt::format("{}", static_cast<int64_t>(number));
  }
  return FloatRepr(number);
}

// What looking at one pair of values counts as, in bytes compared.
constexpr uint64_t kStepCost = 64;

bool Spend(uint64_t& budget, uint64_t amount) {
  budget -= std::min(budget, amount);
  return budget > 0;
}

}  // namespace

Value Value::Of(Kind kind, std::shared_ptr<Object> object) {
  Value out;
  out.kind_ = kind;
  out.object_ = std::move(object);
  return out;
}

Value Value::Undefined(std::string hint) {
  auto object = Make<StringObject>();
  object->text = MarkedText::Own(std::move(hint));
  return Of(Kind::kUndefined, std::move(object));
}

Value Value::None() { return Of(Kind::kNone, nullptr); }

Value Value::Bool(bool value) {
  Value out = Of(Kind::kBool, nullptr);
  out.int_ = value ? 1 : 0;
  return out;
}

Value Value::Int(int64_t value) {
  Value out = Of(Kind::kInt, nullptr);
  out.int_ = value;
  return out;
}

Value Value::Float(double value) {
  Value out = Of(Kind::kFloat, nullptr);
  out.float_ = value;
  return out;
}

Value Value::Own(std::string value) { return String(MarkedText::Own(std::move(value))); }

Value Value::String(MarkedText value) {
  auto object = Make<StringObject>();
  object->text = std::move(value);
  return Of(Kind::kString, std::move(object));
}

Value Value::Markup(MarkedText value) {
  Value out = String(std::move(value));
  out.markup_ = true;
  return out;
}

Value Value::List(std::vector<Value> items, ListForm form) {
  auto object = Make<ListObject>();
  for (const Value& item : items) object->depth = std::max(object->depth, item.depth() + 1);
  object->items = std::move(items);
  Value out = Of(Kind::kList, std::move(object));
  out.form_ = form;
  return out;
}

Value Value::Dict(std::vector<std::pair<Value, Value>> items) {
  auto object = Make<DictObject>();
  for (auto& [key, value] : items) {
    object->depth = std::max({object->depth, key.depth() + 1, value.depth() + 1});
    if (const Value* known = object->Find(key)) {
      *const_cast<Value*>(known) = std::move(value);
      continue;
    }
    const auto index = static_cast<uint32_t>(object->items.size());
    if (key.Is(Kind::kString)) {
      object->by_text.emplace(key.string(), index);
    } else if (IsKey(key)) {
      object->by_other.emplace(KeyText(key), index);
    }
    object->items.emplace_back(std::move(key), std::move(value));
  }
  return Of(Kind::kDict, std::move(object));
}

double Value::float_value() const {
  return kind_ == Kind::kFloat ? float_ : static_cast<double>(int_);
}

const std::string& Value::string() const { return text().text(); }
const MarkedText& Value::text() const {
  static const MarkedText empty;
  return object_ ? static_cast<const StringObject&>(*object_).text : empty;
}
const std::vector<Value>& Value::items() const {
  return static_cast<const ListObject&>(*object_).items;
}
std::shared_ptr<const std::vector<Value>> Value::shared_items() const {
  return {object_, &static_cast<const ListObject&>(*object_).items};
}
const DictObject& Value::dict() const { return static_cast<const DictObject&>(*object_); }
NamespaceObject& Value::name_space() const { return static_cast<NamespaceObject&>(*object_); }
const LoopObject& Value::loop() const { return static_cast<const LoopObject&>(*object_); }
const FunctionObject& Value::function() const {
  return static_cast<const FunctionObject&>(*object_);
}

bool Value::Truthy() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return int_ != 0;
    case Kind::kFloat:
      return float_ != 0.0;
    case Kind::kString:
      return !string().empty();
    case Kind::kList:
      return form_ == ListForm::kGenerator || !items().empty();
    case Kind::kDict:
      return !dict().items.empty();
    case Kind::kNamespace:
    case Kind::kLoop:
    case Kind::kFunction:
      return true;
  }
  return false;
}

std::string_view Value::TypeName() const {
  switch (kind_) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return form_ == ListForm::kList    ? "list"
             : form_ == ListForm::kTuple ? "tuple"
             : form_ == ListForm::kView  ? "dict view"
                                         : "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kFunction:
      return "function";
  }
  return "object";
}

const Value* DictObject::Find(std::string_view key) const {
  const auto it = by_text.find(AbslView(key));
  return it == by_text.end() ? nullptr : &items[it->second].second;
}

const Value* DictObject::Find(const Value& key) const {
  if (key.Is(Kind::kString)) return Find(std::string_view(key.string()));
  if (!IsKey(key)) return nullptr;
  const auto it = by_other.find(KeyText(key));
  return it == by_other.end() ? nullptr : &items[it->second].second;
}

bool IsKey(const Value& value) {
  return value.IsNumber() || value.Is(Kind::kString) || value.Is(Kind::kNone) ||
         value.Is(Kind::kUndefined);
}

bool Equal(const Value& a, const Value& b, uint64_t& budget) {
  if (!Spend(budget, kStepCost)) return false;
  if (a.IsNumber() && b.IsNumber()) return CompareNumbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return Spend(budget, std::min(a.string().size(), b.string().size())) &&
             a.string() == b.string();
    case Kind::kList:
      if (a.form() != b.form()) return false;
      if (!a.IsSequence()) return a.object() == b.object();
      return a.object() == b.object() ||
             std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        [&](const Value& x, const Value& y) { return Equal(x, y, budget); });
    case Kind::kDict: {
      if (a.object() == b.object()) return true;
      if (a.dict().items.size() != b.dict().items.size()) return false;
      for (const auto& [key, value] : a.dict().items) {
        const Value* other = b.dict().Find(key);
        if (other == nullptr || !Equal(value, *other, budget)) return false;
      }
      return true;
    }
    default:
      return a.object() == b.object();
  }
}

std::optional<int> Order(const Value& a, const Value& b, uint64_t& budget) {
  if (!Spend(budget, kStepCost)) return std::nullopt;
  if (a.IsNumber() && b.IsNumber()) return CompareNumbers(a, b);
  if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
    if (!Spend(budget, std::min(a.string().size(), b.string().size()))) return std::nullopt;
    return Sign(a.string().compare(b.string()), 0);
  }
  if (a.IsSequence() && b.IsSequence() && a.form() == b.form()) {
    const auto& x = a.items();
    const auto& y = b.items();
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!Equal(x[i], y[i], budget)) return Order(x[i], y[i], budget);
    }
    return Sign(x.size(), y.size());
  }
  return std::nullopt;
}

namespace {

bool IsKnownRole(const nlohmann::ordered_json& json) {
  static constexpr std::string_view kRoles[] = {"system", "developer", "user",       "assistant",
                                                "tool",   "function",  "ipython",    "model",
                                                "bot",    "human",     "observation"};
  return json.is_string() && std::find(std::begin(kRoles), std::end(kRoles),
                                       json.get_ref<const std::string&>()) != std::end(kRoles);
}

}  // namespace

bool FromJson(const nlohmann::ordered_json& json, uint32_t max_depth, Value& out) {
  if (max_depth == 0) return false;
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::null:
      out = Value::None();
      return true;
    case Type::boolean:
      out = Value::Bool(json.get<bool>());
      return true;
    case Type::number_integer:
      out = Value::Int(json.get<int64_t>());
      return true;
    case Type::number_unsigned: {
      const auto number = json.get<uint64_t>();
      out = number <= INT64_MAX ? Value::Int(static_cast<int64_t>(number))
                                : Value::Float(static_cast<double>(number));
      return true;
    }
    case Type::number_float:
      out = Value::Float(json.get<double>());
      return true;
    case Type::string:
      out = Value::String(MarkedText::FromCaller(json.get_ref<const std::string&>()));
      return true;
    case Type::array: {
      std::vector<Value> items(json.size());
      size_t i = 0;
      for (const auto& item : json) {
        if (!FromJson(item, max_depth - 1, items[i++])) return false;
      }
      out = Value::List(std::move(items));
      return true;
    }
    case Type::object: {
      std::vector<std::pair<Value, Value>> items;
      items.reserve(json.size());
      for (const auto& [key, item] : json.items()) {
        Value value;
        if (key == "role" && IsKnownRole(item)) {
          value = Value::Own(item.get<std::string>());
        } else if (!FromJson(item, max_depth - 1, value)) {
          return false;
        }
        items.emplace_back(Value::String(MarkedText::FromCaller(key)), std::move(value));
      }
      out = Value::Dict(std::move(items));
      return true;
    }
    case Type::binary:
    case Type::discarded:
      break;
  }
  out = Value::None();
  return true;
}

}  // namespace weft::jinja
